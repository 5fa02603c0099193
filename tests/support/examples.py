"""The examples of a page of docs/, as its tests deploy and run them."""

import os
import re
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from local.local_stack import ROOT
from support.deployed import Deployed
from support.second_stack import stack_of


class Page:
    """A page in which each section has at most one example in a language."""

    def __init__(self, name: str) -> None:
        self.text = (ROOT / "docs" / name).read_text("utf-8")

    def example(self, heading: str, language: str) -> str:
        """Return the code in this language under a heading of the page."""
        section = self.text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
        code: str
        (code,) = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
        return code

    def stack(
        self, deployed: Deployed, heading: str, **parameters: str
    ) -> AbstractContextManager[dict[str, str]]:
        """Deploy the template under a heading; the context is the stack's outputs."""
        name = heading.lower().replace(" ", "-")
        return stack_of(deployed, name, {"TemplateBody": self.example(heading, "yaml")}, parameters)


def environment_of(deployed: Deployed) -> dict[str, str]:
    """Return the environment in which an example reaches the local stack."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": deployed.local.outputs["EndpointUrl"],
        "AWS_DEFAULT_REGION": deployed.local.outputs["Region"],
        "AWS_REGION": deployed.local.outputs["Region"],
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
