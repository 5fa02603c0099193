"""Sends the messages of a file, a line each; a run that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import relay
from relay.domain.message import parse_message
from relay.errors import InvalidMessage
from relay_cli.terminal import progress


def push_file(stack: relay.Stack, path: Path, bot: str) -> int:
    """Send the messages of a file in order; return how many were sent now.

    Each line is a message as on the push queue; `bot` is for those that name none. A file beside it, with
    `.sent` at the end of its name, counts the lines that were sent. It is removed at the end.

    Raise InvalidMessage, which names the line, before anything is sent.
    """
    messages = [_read(number, line, bot) for number, line in enumerate(_lines(path), 1)]
    counter = path.with_name(path.name + ".sent")
    sent_before = int(counter.read_text()) if counter.exists() else 0
    queue = relay.PushQueue(stack)
    for number, fields in enumerate(messages[sent_before:], sent_before + 1):
        queue.push(**fields)
        counter.write_text(str(number))
        progress(number, len(messages))
    counter.unlink(missing_ok=True)
    return len(messages) - sent_before


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").splitlines()
    except OSError as error:
        raise InvalidMessage(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidMessage(f"{path} is not text in UTF-8") from None


def _read(number: int, line: str, bot: str) -> dict[str, Any]:
    try:
        parse_message(line)
    except InvalidMessage as fault:
        raise InvalidMessage(f"line {number}: {fault}") from None
    # If a run ends between a message and its count, the next run sends the message again under the same id.
    given = hashlib.sha256(f"{number} {line}".encode()).hexdigest()
    fields: dict[str, Any] = {"bot": bot, "deduplication_id": given} | json.loads(line)
    return fields
