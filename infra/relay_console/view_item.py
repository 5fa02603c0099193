"""ViewItem: a thing that the page shows, as JSON. What makes it is pure, and no text in it is trusted."""

from typing import Any

ViewItem = dict[str, Any]
"""`kind` says what it is, and `id` is its own."""
