"""What a log may say of an exception."""

import traceback


def describe(error: Exception) -> dict[str, object]:
    """An exception's kind and place, for a log; its text can hold what somebody wrote."""
    response = getattr(error, "response", None) or {}
    return {
        "error": response.get("Error", {}).get("Code") or type(error).__name__,
        "trace": traceback.format_tb(error.__traceback__),
    }
