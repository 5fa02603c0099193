"""What a log says of an exception."""

import traceback


def error_fields(error: Exception) -> dict[str, object]:
    """Return an exception's kind and place for a log record. Its text is left out: it can quote a user."""
    response = getattr(error, "response", None) or {}
    return {
        "error": response.get("Error", {}).get("Code") or type(error).__name__,
        "trace": traceback.format_tb(error.__traceback__),
    }
