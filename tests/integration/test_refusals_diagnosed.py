"""What callback refused, as the reason of a message that waits, from the real log."""

import time

import pytest

from relay import Messages
from relay.domain.states import AnswerKind, State
from relay.domain.timestamps import utc_text
from support.callbacks import part_body, post_part, signed_headers
from support.samples import message_record
from support.waiting import eventually


@pytest.fixture
def diagnosis(deployed, talk):
    """Let callback refuse a request; return the diagnosis of a message that was queued before, in a state."""
    queued_at, raw = utc_text(time.time()), part_body(talk)
    assert post_part(talk, raw, signed_headers(raw, secret="forged")).status_code == 401

    def diagnosis(state, **fields):
        fields |= {"queued_at": queued_at, "due_at": utc_text(time.time() + 900), "expect_reply": True}
        record = message_record(bot=talk.name, state=state, **fields)
        return Messages(deployed.stack).diagnose(record, talk.name).line()

    return diagnosis


def test_a_message_that_waits_is_explained_by_what_callback_refused(diagnosis):
    eventually(lambda: "1 request for the bot: signature_mismatch" in diagnosis(State.DELIVERED), within=60)


def test_a_message_that_has_its_reply_is_not_explained_by_later_refusals(diagnosis):
    eventually(lambda: "refused" in diagnosis(State.DELIVERED), within=60)
    answer = {"answer_kind": AnswerKind.OWN, "answered_at": utc_text(time.time())}
    assert "refused" not in diagnosis(State.ANSWERED, **answer)


def test_a_refusal_after_the_deadline_is_not_why_a_message_is_unanswered(diagnosis):
    eventually(lambda: "refused" in diagnosis(State.DELIVERED), within=60)
    unanswered_at = utc_text(time.time() - 900)
    assert "refused" not in diagnosis(State.UNANSWERED, unanswered_at=unanswered_at, last_error="no reply")
