"""Where pytest finds the fixtures of all tests, and in which order the tests run."""

import pytest

pytest_plugins = [
    "support.fixtures",
    "beliefs.beliefs_fixtures",
    "console.console_fixtures",
    "langbot.langbot_fixtures",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that may last longest, so that no process waits for one of them at the end."""

    def timeout(item: pytest.Item) -> float:
        marker = item.get_closest_marker("timeout")
        return float(marker.args[0]) if marker else 0

    items.sort(key=timeout, reverse=True)
