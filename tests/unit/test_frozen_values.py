"""Values are frozen: a thread, a retry or a batch changes none that another one reads."""

import importlib
import inspect
from dataclasses import is_dataclass
from pathlib import Path

FUNCTIONS = Path(__file__).parents[2] / "functions"


def dataclasses():
    """Return the dataclasses of the modules that can be imported without a function's environment."""
    for path in sorted(FUNCTIONS.rglob("*.py")):
        if path.name not in ("app.py", "__init__.py"):
            module = importlib.import_module(".".join(path.relative_to(FUNCTIONS).with_suffix("").parts))
            found = inspect.getmembers(module, is_dataclass)
            yield from (one for _, one in found if one.__module__ == module.__name__)


def test_a_dataclass_is_frozen_or_counts_something():
    changing = {one.__name__ for one in dataclasses() if not one.__dataclass_params__.frozen}
    assert changing == {"CachedBot", "_Budget", "_Read"}
