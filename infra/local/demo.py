"""The main job, end to end: messages of two sessions through the stack, and their replies; `make demo`."""

import shutil
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from local.local_stack import LOCAL, OUTPUTS, StackError, stack_from_environment
from local.sample_bot import SampleBot
from relay import Conversation, MessageParked, PushQueue, ReplyTimeout, SentMessage, Stack
from relay.domain.part import ReplyPart
from relay.domain.turn import turns
from relay_cli.terminal import say, show_crash

MESSAGES = {
    "ticket-1": ["Hello, is anybody there?", "Tell me a story, LONG:8:150", "Thank you"],
    "ticket-2": ["MULTI answers, please", "And a short one: LONG:4:300", "Thank you"],
}
TIMEOUT = 90
"""Seconds for the whole demonstration."""

QUIET = 1
"""Seconds without a new part after which no more parts of finished turns are expected."""


@dataclass
class Session:
    """One session of the demonstration, with what was sent and what has landed so far."""

    name: str
    talk: Conversation
    to_send: deque[str]
    sent: list[SentMessage] = field(default_factory=list)
    parts: list[ReplyPart] = field(default_factory=list)

    def answered(self) -> bool:
        """Whether there is a finished turn for each message so far."""
        return sum(turn.finished for turn in turns(self.parts)) >= len(self.sent)

    def show_new(self) -> bool:
        """Print the parts that have landed since; tell whether there were any."""
        new = list(self.talk.parts(self.parts[-1]["part"] if self.parts else ""))
        for part in new:
            if self.parts and part["reply_to"] != self.parts[-1]["reply_to"]:
                self.show_end()
            self.parts.append(part)
            line = f"{self.name}  {part['sequence']:>3}  {' '.join(part['text'].split())}"
            width = shutil.get_terminal_size().columns
            say(line if len(line) <= width else line[: width - 3] + "...")
        return bool(new)

    def show_end(self) -> None:
        """Mark the end of the turn that the last part belongs to."""
        if self.parts:
            last = turns(self.parts)[-1]
            count = f"{len(last.parts)} part{'s' if len(last.parts) > 1 else ''}"
            say(f"{self.name}       -- {'end of turn' if last.finished else 'not finished'}, {count} --")

    def faults(self, bot: SampleBot | None) -> list[str]:
        """Return what is missing, double or out of order."""
        found = []
        replies = []
        for number, sent in enumerate(self.sent, 1):
            try:
                replies.append(self.talk.wait(sent, timeout=0).reply_to)
            except (ReplyTimeout, MessageParked) as error:
                found.append(f"message {number}: {error}")
        if not found and replies != list(dict.fromkeys(part["reply_to"] for part in self.parts)):
            found.append("the turns are not those of the messages, in the order of the messages")
        if self.parts != list(self.talk.parts()):
            found.append("a part landed before one that was there already")
        if len({part["digest"] for part in self.parts}) != len(self.parts):
            found.append("a part is there twice")
        if bot:
            emitted = [_mark(part) for part in bot.emitted if part["session_id"] == self.name]
            landed = [_mark(part) for part in self.parts]
            if landed != emitted:
                found.append(
                    f"the bot sent {len(emitted)} parts and {len(landed)} landed, or in another order"
                )
        return [f"{self.name}: {fault}" for fault in found]


def _mark(part: Mapping[str, Any]) -> tuple[Any, ...]:
    return part["reply_to"], part["sequence"], part["is_final"], part["message"]


def run(bot: SampleBot | None) -> int:
    """Send the messages, show the replies, and return the exit code."""
    stack = Stack.from_file(LOCAL / OUTPUTS)
    push_queue = PushQueue(stack)
    sessions = [Session(name, Conversation(stack, name), deque(texts)) for name, texts in MESSAGES.items()]
    start = quiet_since = time.monotonic()
    say("\nsession   seq  text so far")
    while time.monotonic() < start + TIMEOUT:
        for session in sessions:
            # A real LangBot may merge messages that wait, so it gets the next when it has answered.
            while session.to_send and (bot or session.answered()):
                text = session.to_send.popleft()
                say(f"{session.name}    >  {text}")
                session.sent.append(push_queue.push(session.name, text))
            if session.show_new():
                quiet_since = time.monotonic()
        done = all(session.answered() and not session.to_send for session in sessions)
        if done and time.monotonic() > quiet_since + QUIET:
            break
        time.sleep(0.1)
    for session in sessions:
        session.show_end()
    faults = [fault for session in sessions for fault in session.faults(bot)]
    if faults:
        say("\n  ".join(["\nSomething went wrong:", *faults]), sys.stderr)
        return 1
    messages = sum(len(session.sent) for session in sessions)
    parts = sum(len(session.parts) for session in sessions)
    seconds = time.monotonic() - start
    say(f"\n{messages} messages, {parts} reply parts: each once, in order, in {seconds:.1f} s.")
    say("Next: `make local` keeps this stack running, and README.md shows what to do with it.")
    return 0


def main() -> int:
    """Start the stack, run the demonstration, end the stack."""
    sys.excepthook = show_crash
    start = time.monotonic()
    say("Starting the stack of template.yaml (a few seconds) ...")
    try:
        with stack_from_environment() as bot:
            which = "the sample bot" if bot else "the bot of BOT_URL"
            say(f"It is up after {time.monotonic() - start:.1f} s, with {which}.")
            return run(bot)
    except KeyboardInterrupt:
        return 130
    except StackError as error:
        say(str(error), sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
