"""The model of LangBot in the simulation does what the real one does: both play the same scenarios."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, groupby, pairwise
from math import log2
from typing import Any
from uuid import uuid4

import pytest
from packaging.version import Version

from langbot.bridge import Bridge
from langbot.peer.peer import DISCARD
from langbot.subjects import ModelLangBot, RealLangBot, Response, Subject, modelled, signed
from relay.domain.signing import secret_used

pytestmark = pytest.mark.timeout(1200)  # the first test boots LangBot

PUSH = "a push"


class Talk:
    """A session with a LangBot."""

    def __init__(self, langbot: Subject) -> None:
        self.langbot = langbot
        self.session = f"s-{uuid4().hex[:8]}"
        self.ids: list[str] = []
        self._keys = (f"{self.session}-{number}" for number in count())

    def body(self, message: object) -> bytes:
        return json.dumps({"session_id": self.session, "message": message}).encode()

    def key(self) -> str:
        """Return an idempotency key that was not used before."""
        return next(self._keys)

    def say(self, text: str, path: str = "", key: str = "") -> Response:
        """Post a text."""
        return self.post(self.body([{"type": "Plain", "text": text}]), path, key)

    def post(self, body: bytes, path: str = "", key: str = "", age: float = 0, secret: str = "") -> Response:
        """Post a body that was signed `age` seconds ago, with the bot's secret if there is no other."""
        signed_at = self.langbot.clock() - age
        headers = signed(secret or self.langbot.inbound, body, signed_at, key or self.key())
        response = self.langbot.post(path, headers, body)
        if response.accepted_id:
            self.ids.append(response.accepted_id)
        return response

    def finals(self, number: int) -> None:
        """Wait until so many final parts of the session have come, and a moment for more than these."""
        self.langbot.until(lambda: sum(is_final for _, _, is_final, _ in self.parts()) >= number)
        self.langbot.wait(1)

    def parts(self) -> list[tuple[int | str, int, bool, bool]]:
        """Return of each part which message it answers, its sequence, whether it is final, and streamed."""
        bodies = dict.fromkeys(callback.body for callback in self.langbot.callbacks(self.session))
        return [
            (
                self.ids.index(part["reply_to"]) if part["reply_to"] else PUSH,
                part["sequence"],
                part["is_final"],
                part["stream"],
            )
            for part in map(json.loads, bodies)
        ]

    def attempts(self) -> list[tuple[list[int | None], list[int], int]]:
        """Return of each part what its attempts were answered, which power of 2 s lay between them at least,
        and how many different signatures they had."""
        found = []
        for _, group in groupby(self.langbot.callbacks(self.session), key=lambda callback: callback.body):
            calls = list(group)
            delays = [int(log2(later.at - earlier.at + 0.01)) for earlier, later in pairwise(calls)]
            found.append(
                (
                    [call.status for call in calls],
                    delays,
                    len({call.signed for call in calls}),
                )
            )
        return found


def shown(response: Response) -> tuple[int, int | str | None, str]:
    """Return what of a response has no id in it."""
    return response.status, response.code, response.text


# ---------------------------------------------------------------- what push posts


def a_key_that_was_accepted(langbot: Subject) -> Any:
    talk = Talk(langbot)
    key = talk.key()
    paths = ("", "", "/sync")
    return [shown(talk.say("hello", path, key)) for path in paths]


def a_message_that_is_no_message(langbot: Subject) -> Any:
    talk = Talk(langbot)
    key = talk.key()
    responses = [talk.post(body, key=key) for body in (b"no JSON", b"[1]", b'{"session_id": "s"}', b"{}")]
    # Only the refusal behind the check of the key uses the key up.
    responses += [talk.post(talk.body("no list"), key=key), talk.say("hello", key=key)]
    return [*map(shown, responses)]


def a_signature_that_is_wrong(langbot: Subject) -> Any:
    talk = Talk(langbot)
    body, key = talk.body([{"type": "Plain", "text": "hello"}]), talk.key()
    good = signed(langbot.inbound, body, langbot.clock(), key)
    missing = {name: value for name, value in good.items() if name != "X-LB-Signature"}
    responses = [
        talk.post(body, key=key, secret="another secret"),
        talk.post(body, key=key, age=330),
        talk.post(body, key=key, age=-330),
        talk.post(body, key=key, age=250),
        langbot.post("", missing, body),
        langbot.post("", good | {"X-LB-Timestamp": "yesterday"}, body),
        langbot.post("", good | {"X-LB-Signature": good["X-LB-Signature"].upper()}, body),
    ]
    return [*map(shown, responses)]


def a_body_that_is_too_large(langbot: Subject) -> Any:
    talk = Talk(langbot)
    empty = len(talk.body(""))
    return [shown(talk.post(talk.body("x" * (2**20 + more - empty)))) for more in (0, 1)]


def a_bot_that_does_not_exist(langbot: Subject) -> Any:
    talk = Talk(langbot)
    body = talk.body([])
    return shown(langbot.post_to_no_bot(signed("any secret", body, langbot.clock(), talk.key()), body))


def a_reset(langbot: Subject) -> Any:
    talk = Talk(langbot)
    reset = talk.post(json.dumps({"session_id": talk.session}).encode(), "/reset")
    return [shown(reset), shown(talk.say("hello"))]


# ---------------------------------------------------------------- what the bot posts


def replies_to_several_messages(langbot: Subject) -> Any:
    """One after the other in one session: whole, streamed, several, none, and one that breaks off."""
    talk = Talk(langbot)
    finals = 0
    for text, more in (
        ("hello", 1),
        ("LONG:40:50", 1),
        ("REPLIES:3", 3),
        (DISCARD, 0),
        ("LONG:60:20 BREAK", 0),
        ("hello", 1),
    ):
        talk.say(text)
        finals += more
        talk.finals(finals)
    return talk.parts()


def messages_that_come_during_a_turn(langbot: Subject) -> Any:
    talk = Talk(langbot)
    for text in ("LONG:40:50", "hello", "REPLIES:3"):
        talk.say(text)
    talk.finals(5)
    return talk.parts()


def a_push_behind_a_turn_without_end(langbot: Subject) -> Any:
    talk = Talk(langbot)
    talk.say("LONG:60:20 BREAK")
    langbot.until(lambda: len(talk.parts()) == 3)
    langbot.push(talk.session)
    talk.finals(1)
    talk.say("hello")
    talk.finals(2)
    return talk.parts()


def parts_that_are_not_taken(langbot: Subject) -> Any:
    """What is tried again, how often, when and with which signature; and what comes behind it."""
    seen = []
    for statuses in ([500, 500, 500, 500], [503, None], [429], [401], [400], [404]):
        talk = Talk(langbot)
        langbot.answer(talk.session, *statuses)
        talk.say("REPLIES:3")
        while len(talk.attempts()) < 3:
            langbot.wait(0.2)
        seen.append((talk.attempts(), talk.parts()))
    return seen


# ---------------------------------------------------------------- sync calls


def sync_calls_of_one_session(langbot: Subject) -> Any:
    """A second one meanwhile, which uses its key up; and what each reply is."""
    talk = Talk(langbot)
    key = talk.key()
    first = langbot.start(lambda: talk.say("LONG:40:50", "/sync"))
    langbot.wait(0.8)
    refused = talk.say("hello", "/sync", key)
    response = first.result()
    again = talk.say("hello", key=key)
    last = talk.say("hello", "/sync")
    counted = [(shown(one), len(one.data["message"])) for one in (response, last)]
    return [shown(refused), shown(again), counted, talk.parts()]


def a_sync_call_behind_another_message(langbot: Subject) -> Any:
    """It gets the other one's reply, and its own comes as parts."""
    talk = Talk(langbot)
    talk.say("LONG:40:50")
    response = talk.say("REPLIES:3", "/sync")
    talk.finals(3)
    return [shown(response), talk.parts()[-3:]]


def a_push_during_a_sync_call(langbot: Subject) -> Any:
    talk = Talk(langbot)
    call = langbot.start(lambda: talk.say("LONG:40:50", "/sync"))
    langbot.wait(0.3)
    langbot.push(talk.session)
    response = call.result()
    talk.finals(1)  # of the push, or of the turn if the push ended the call
    return [shown(response), {(of, is_final) for of, _, is_final, _ in talk.parts()}]


# ---------------------------------------------------------------- what LangBot forgets


def a_save(langbot: Subject) -> Any:
    return keys_and_sequences_after(langbot, langbot.save)


def a_restart(langbot: Subject) -> Any:
    return keys_and_sequences_after(langbot, langbot.restart)


def keys_and_sequences_after(langbot: Subject, event: Callable[[], None]) -> Any:
    talk = Talk(langbot)
    key = talk.key()
    before = talk.say("LONG:60:20 BREAK", key=key)
    langbot.until(lambda: len(talk.parts()) == 3)
    event()
    after = talk.say("hello", key=key)
    talk.finals(1)
    return [shown(before), shown(after), talk.parts()]


def saved_before_the_last_attempt(langbot: Subject, text: str) -> Talk:
    """Save the bot when the first part of the reply to a text waits for its last attempt."""
    talk = Talk(langbot)
    langbot.answer(talk.session, 500, 500, 500)
    talk.say(text)
    langbot.until(lambda: len(langbot.callbacks(talk.session)) == 3)
    langbot.save()
    return talk


def a_save_while_a_part_waits(langbot: Subject) -> Any:
    talk = saved_before_the_last_attempt(langbot, "REPLIES:3")
    langbot.wait(5)
    talk.say("hello")
    talk.finals(2)
    return [talk.attempts(), talk.parts()]


def a_save_while_parts_are_queued(langbot: Subject) -> Any:
    """The turn goes on: whether what was queued comes with its next part, and how that is numbered."""
    talk = saved_before_the_last_attempt(langbot, "LONG:40:150")
    talk.finals(1)
    return [talk.attempts()[0], talk.parts()[1]]


def a_save_with_other_secrets_during_a_turn(langbot: Subject) -> Any:
    """The turn ends with the secret with which it began."""
    talk, old, new = Talk(langbot), langbot.outbound, f"outbound-{uuid4()}"
    talk.say("LONG:16:600")
    langbot.wait(0.8)
    langbot.save(inbound=f"inbound-{uuid4()}", outbound=new)
    unknown = talk.post(talk.body([]), secret=old)
    talk.say("hello")
    langbot.until(lambda: any(of == 1 for of, *_ in talk.parts()))
    by = {
        (json.loads(call.body)["reply_to"] == talk.ids[0], secret_used((old, new), *call.signed))
        for call in langbot.callbacks(talk.session)
    }
    return [shown(unknown), by, [(of, is_final) for of, _, is_final, _ in talk.parts() if is_final]]


def what_takes_a_minute(langbot: Subject) -> Any:
    """A sync call that is not answered, one whose bot is saved, and a session in which nothing happens."""
    saved, idle, silent = Talk(langbot), Talk(langbot), [Talk(langbot) for _ in range(5)]
    calls = [langbot.start(lambda: saved.say("LONG:16:600", "/sync"))]
    langbot.wait(0.8)
    langbot.save()
    for talk in silent:
        calls.append(langbot.start(partial(talk.say, DISCARD, "/sync")))
        langbot.wait(0.3)
    responses = [idle.say("LONG:60:20 BREAK"), *(call.result() for call in calls)]
    langbot.wait(8)
    idle.say("hello")
    idle.finals(1)
    replies = [(shown(one), len(one.data["message"])) for one in responses[1:]]
    return [replies, [(of, is_final) for of, _, is_final, _ in saved.parts()[-1:]], idle.parts()]


SCENARIOS = (
    a_key_that_was_accepted,
    a_message_that_is_no_message,
    a_signature_that_is_wrong,
    a_body_that_is_too_large,
    a_bot_that_does_not_exist,
    a_reset,
    replies_to_several_messages,
    messages_that_come_during_a_turn,
    a_push_behind_a_turn_without_end,
    parts_that_are_not_taken,
    sync_calls_of_one_session,
    a_sync_call_behind_another_message,
    a_push_during_a_sync_call,
    a_save,
    a_save_while_a_part_waits,
    a_save_while_parts_are_queued,
    a_save_with_other_secrets_during_a_turn,
    what_takes_a_minute,
    a_restart,
)


@pytest.fixture(scope="module")
def langbot(bridge: Bridge) -> Iterator[RealLangBot]:
    with RealLangBot.of(bridge) as langbot:
        yield langbot


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_model_does_as_langbot(
    langbot: RealLangBot, langbot_release: Version, scenario: Callable[[Subject], Any]
) -> None:
    assert ModelLangBot(modelled(langbot_release)).play(scenario) == scenario(langbot)
