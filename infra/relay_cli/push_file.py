"""Sends the messages of a file, a line each; a run that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import NamedTuple

import relay
from relay.domain import strict_json
from relay.errors import InvalidMessage
from relay_cli.deployment import check_bot
from relay_cli.terminal import CommandFailed, complain, progress


class SentLines(NamedTuple):
    """How many messages of a file were sent by this run, and by those that it continued."""

    now: int
    before: int


def push_file(stack: relay.Stack, path: Path, bot: str) -> SentLines:
    """Send the messages of a file in order.

    Each line is a message as on the push queue; `bot` is for those that name none. Empty lines do not count.

    Raise InvalidMessage, which names the line, and CommandFailed, both before anything is sent; and
    botocore's errors.
    """
    content = _read(path)
    messages = [_message(n, line, bot) for n, line in enumerate(content.split("\n"), 1) if line.strip()]
    for name in sorted({name for name, _ in messages}):
        check_bot(stack, name)
    bodies = [body for _, body in messages]
    run = {"queue": stack.push_queue_url, "bot": bot, "sha256": _digest(content)}
    # What is given as /dev/stdin can be a file, and then lies elsewhere.
    file = path.resolve()
    checkpoint = _Checkpoint(file, run) if file.is_file() else None
    # A pipe has no place for a checkpoint. Within five minutes, SQS knows what it sent by its content.
    run_id = checkpoint.run_id if checkpoint else _digest(json.dumps(run))
    before = sent = checkpoint.sent if checkpoint else 0
    queue = relay.PushQueue(stack)
    try:
        for body in bodies[before:]:
            # If a run ends between a message and its count, the next one sends the message under the same id.
            queue.push_json(body, _digest(f"{run_id} {sent} {body}"))
            sent += 1
            if checkpoint:
                checkpoint.count(sent)
            progress(sent, len(bodies))
    finally:
        if sent < len(bodies):
            when = "" if checkpoint else " within five minutes"
            complain(
                f"relay: {sent} of {len(bodies)} messages were sent; run the same command{when} to continue"
            )
    if checkpoint:
        checkpoint.remove()
    return SentLines(sent - before, before)


class _Checkpoint:
    """How much of a file an unfinished run has sent.

    Beside the file, one with `.run` at the end of its name says what is sent where, and one with `.sent`
    counts the messages that were sent.
    """

    def __init__(self, file: Path, run: dict[str, str]) -> None:
        self._run = file.with_name(file.name + ".run")
        self._counter = file.with_name(file.name + ".sent")
        try:
            if self._counter.exists():
                self.run_id, self.sent = self._earlier(file, run)
            else:
                self.run_id, self.sent = uuid.uuid4().hex, 0
                self._run.write_text(json.dumps({"id": self.run_id} | run))
                self._counter.touch()
                self.count(0)
        except OSError as error:
            raise CommandFailed(
                2,
                f"{self._counter} cannot be written: {error.strerror}. It counts what was sent. "
                "Copy the file to another folder, or send it through a pipe: --file /dev/stdin",
            ) from None

    def _earlier(self, file: Path, run: dict[str, str]) -> tuple[str, int]:
        """Return the id of the run that left the files, and how much it sent. Raise CommandFailed."""
        advice = f"To send all of it, remove {self._counter}"
        try:
            earlier, sent = json.loads(self._run.read_text()), int(self._counter.read_text())
            run_id, queue, bot = str(earlier.pop("id")), earlier["queue"], earlier["bot"]
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            raise CommandFailed(
                2, f"{self._counter} and {self._run} do not say what was sent of {file}. {advice}"
            ) from None
        if earlier == run:
            return run_id, sent
        if bot != run["bot"]:
            change = f"for the bot {bot}, and this command is for the bot {run['bot']}"
        elif queue != run["queue"]:
            change = f"to {queue}, and this command sends to {run['queue']}"
        else:
            change = "and the file was changed since"
        raise CommandFailed(2, f"{sent} messages of {file} were sent {change}. {advice}")

    def count(self, sent: int) -> None:
        """Note how many messages were sent, in as many bytes as before: the file is never empty."""
        with self._counter.open("r+") as counter:
            counter.write(f"{sent:09}")

    def remove(self) -> None:
        """Note that all was sent."""
        self._counter.unlink()
        self._run.unlink()


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CommandFailed(2, f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CommandFailed(2, f"{path} is not text in UTF-8") from None


def _message(number: int, line: str, bot: str) -> tuple[str, str]:
    """Return the bot of a line's message, and what is sent for it. Raise InvalidMessage."""
    try:
        message = relay.PushQueue.check(line)
        fields = strict_json.loads(line)
        if fields.get("bot") is None:
            line = json.dumps(fields | {"bot": bot}, ensure_ascii=False)
            message = relay.PushQueue.check(line)
    except InvalidMessage as fault:
        raise InvalidMessage(f"line {number}: {fault}") from None
    return message.bot, line


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
