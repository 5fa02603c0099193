"""What a log or a record says of an exception, and the text by which a program finds a line of the log."""

import traceback

REFUSED = "a request was refused"
"""What callback logs for a request that is not authentic, with its bot and the reason."""

PROBE = "-doctor"
"""The bot in the requests by which the command doctor probes callback; no bot can have this name."""


def error_text(error: Exception) -> str:
    """Return what a record says of an exception: AWS's code and call, or its kind, and never its own text."""
    response = getattr(error, "response", None) or {}
    code = response.get("Error", {}).get("Code")
    return f"{code} by {getattr(error, 'operation_name', 'AWS')}" if code else type(error).__name__


def error_fields(error: Exception) -> dict[str, object]:
    """Return an exception's kind and place for a log record. Its text is left out: it can quote a user."""
    response = getattr(error, "response", None) or {}
    return {
        "error": response.get("Error", {}).get("Code") or type(error).__name__,
        "trace": traceback.format_tb(error.__traceback__),
    }
