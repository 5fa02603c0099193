"""What the console's page shows of records, parts and bots."""

import json
import os
import subprocess

import pytest

from relay.domain.admission import BotState
from relay.domain.part import with_body, without_replaced_text
from relay.domain.states import State
from relay.domain.timestamps import utc_text
from relay_console.bot_view import bot_item
from relay_console.curl_command import curl_command
from relay_console.message_view import message_detail, message_item
from relay_console.part_view import part_detail, part_item
from relay_console.segments_view import (
    MAX_CHARACTERS,
    MAX_FURTHER,
    MAX_NAME,
    MAX_SEGMENTS,
    MAX_TEXT,
    MIN_TEXT,
    limited_segments,
    shown_segments,
)
from relay_console.session_view import MessageSummary, session_item
from relay_console.turn_view import STALLED_AFTER, turn_items
from support.samples import NOW, message_record, received_part

PIXEL = "data:image/png;base64,AAAA"


def part(text="hello", final=True, **fields):
    body = {
        "session_id": "s-1",
        "reply_to": "in_1",
        "sequence": 1,
        "is_final": final,
        "stream": True,
        "message": [{"type": "Plain", "text": text}],
    }
    return received_part(json.dumps(body | fields).encode())


def message(text="hello", **fields):
    return message_record(body=json.dumps({"session_id": "s-1", "text": text}), **fields)


# ---------------------------------------------------------------- sessions


def test_a_session_has_its_last_activity_and_a_count_of_each_state():
    messages = [
        MessageSummary.of(message_record(message=str(n), state=state, queued_at=utc_text(NOW + n)))
        for n, state in enumerate([State.ANSWERED, State.PARKED, State.ANSWERED])
    ]
    item = session_item("default#s-1", messages)
    assert item["states"] == {"answered": 2, "parked": 1}
    assert (item["bot"], item["session_id"], item["at"]) == ("default", "s-1", utc_text(NOW + 2))


# ---------------------------------------------------------------- messages


def test_a_message_shows_its_text_and_who_says_it():
    record = message_record(
        body='{"session_id": "s-1", "text": "hi", "sender": {"id": "u-1", "name": "Ann"}}'
    )
    item = message_item(record)
    assert item["segments"] == [{"type": "Plain", "text": "hi", "cut": False}]
    assert item["sender"] == "Ann"


@pytest.mark.parametrize("body", ["no JSON", "{}", "[]", '{"session_id": 5}'])
def test_a_message_that_cannot_be_read_is_shown_as_it_was_queued(body):
    item = message_item(message_record(body=body))
    assert list(limited_segments([item])) == [item]
    assert item["segments"] == [{"type": "Unreadable", "text": body, "cut": False}]
    assert item["invalid"]


def test_a_message_in_the_bucket_is_shown_without_its_text():
    record = message_record(overflow="messages/id-1.json")
    del record["body"]
    assert message_item(record)["segments"] is None


def test_a_long_text_is_cut():
    (shown,) = shown_segments([{"type": "Plain", "text": "x" * (MAX_TEXT + 1)}])["segments"]
    assert (len(shown["text"]), shown["cut"]) == (MAX_TEXT, True)


@pytest.mark.parametrize(
    ("segment", "shown"),
    [
        ({"type": "Image", "base64": PIXEL}, {"type": "Image", "picture": PIXEL}),
        ({"type": "Image", "base64": "data:image/svg+xml;base64,AAAA"}, None),
        ({"type": "Image", "base64": "data:text/html,<script>"}, None),
        ({"type": "Image", "base64": "https://elsewhere.example/a.png"}, None),
        ({"type": "Image", "base64": 5}, None),
        ({"type": "Image", "url": "https://elsewhere.example/a.png"}, None),
        ({"type": ["no", "text"]}, None),
        ({"type": "Plain", "text": {"no": "text"}}, None),
        ({}, None),
    ],
)
def test_only_a_picture_in_the_message_itself_is_shown(segment, shown):
    (found,) = shown_segments([segment])["segments"]
    assert found == shown if shown else "picture" not in found
    assert all(isinstance(value, str | bool) for value in found.values())


def small(count):
    return [{"type": "Plain", "text": "x"}] * count


@pytest.mark.parametrize(("count", "left_out"), [(MAX_SEGMENTS, 0), (40_000, 40_000 - MAX_SEGMENTS)])
def test_a_bubble_says_how_many_segments_are_left_out(count, left_out):
    shown = shown_segments(small(count))
    assert (len(shown["segments"]), shown["left_out"]) == (count - left_out, left_out)


def test_the_newest_bubbles_of_a_conversation_show_their_segments():
    bubbles = [shown_segments(small(MAX_SEGMENTS)) for _ in range(MAX_FURTHER // MAX_SEGMENTS * 2)]
    turn = {"id": "turn", "order": "2", "bubbles": bubbles}
    message = {"id": "message", "order": "1", **shown_segments(small(3))}
    large = {"id": "large", "order": "0", "segments": None}
    newest, older, oldest = limited_segments([large, message, turn])
    assert newest["bubbles"][0] == {"segments": bubbles[0]["segments"][:1], "left_out": MAX_SEGMENTS - 1}
    assert newest["bubbles"][-1] == bubbles[-1]
    assert sum(len(bubble["segments"]) - 1 for bubble in newest["bubbles"]) == MAX_FURTHER
    assert (len(older["segments"]), older["left_out"], oldest) == (1, 2, large)


def test_the_characters_of_a_conversation_are_bounded_and_the_newest_are_shown():
    long = [{"type": "Plain", "text": "x" * MAX_TEXT}]
    picture = [{"type": "Image", "base64": "data:image/png;base64," + "A" * 5_000_000}]
    bubbles = [shown_segments(segments) for segments in [*[long] * 1000, *[picture] * 5]]
    (turn,) = limited_segments([{"id": "turn", "order": "1", "bubbles": bubbles}])
    assert turn["bubbles"][-1] == bubbles[-1]
    assert turn["bubbles"][-5] == {"segments": [], "left_out": 1}
    assert turn["bubbles"][0]["segments"] == [{"type": "Plain", "text": "x" * MIN_TEXT, "cut": True}]
    assert len(json.dumps(turn)) < MAX_CHARACTERS + 1000 * (MIN_TEXT + 100)


def test_a_part_whose_body_was_not_read_is_shown_as_large():
    unread = with_body(part() | {"overflow": "parts/1.json"}, None)
    (turn,) = turn_items([unread], [], NOW)
    assert turn["bubbles"][0]["segments"] is None
    assert part_item(unread)["length"] is None


def test_a_part_that_is_stored_without_its_text_is_shown_with_its_length():
    assert part_item(without_replaced_text(part("hello", final=False)))["length"] == 5


@pytest.mark.parametrize("field", ["id", "name"])
def test_a_long_name_of_a_sender_or_a_segment_is_cut(field):
    body = json.dumps({"session_id": "s-1", "text": "hi", "sender": {"id": "u-1", field: "x" * 100_000}})
    assert len(message_item(message_record(body=body))["sender"]) == MAX_NAME
    assert len(shown_segments([{"type": "x" * 100_000}])["segments"][0]["type"]) == MAX_NAME


# ---------------------------------------------------------------- turns


def test_a_turn_has_a_bubble_for_each_text_that_was_not_replaced():
    parts = [part("a", False, sequence=1), part("ab", True, sequence=2), part("c", True, sequence=3)]
    parts = [one | {"part": f"{n}"} for n, one in enumerate(parts)]
    (turn,) = turn_items(parts, [], NOW)
    assert [bubble["segments"][0]["text"] for bubble in turn["bubbles"]] == ["ab", "c"]
    assert turn["parts"] == 3


@pytest.mark.parametrize(
    ("final", "record", "later", "status"),
    [
        (True, {}, 0, "finished"),
        (False, {}, 0, "growing"),
        (False, {}, STALLED_AFTER + 5, "stalled"),
        (False, {"state": State.UNANSWERED}, STALLED_AFTER + 5, "broken"),
        (False, {"state": State.ANSWERED, "answer_kind": "unfinished"}, STALLED_AFTER + 5, "unfinished"),
    ],
)
def test_a_turn_says_how_far_it_has_come(final, record, later, status):
    answered = message(accepted_message_id="in_1", **record)
    (turn,) = turn_items([part("a", final)], [answered], NOW + later)
    assert (turn["status"], turn["answers"]) == (status, answered["message"])


def test_a_turn_names_the_messages_that_were_merged_into_it():
    first = message(accepted_message_id="in_1", state=State.ANSWERED, answered_by="in_1")
    merged = {"answered_by": "in_1", "answer_kind": "merged", "answer_part": part()["part"]}
    second = message_record(message="2", state=State.ANSWERED, **merged)
    (turn,) = turn_items([part()], [first, second], NOW)
    assert turn["merged"] == ["2"]


def test_a_push_names_the_message_that_it_answered():
    push = part(reply_to="")
    record = message(state=State.ANSWERED, answered_by="", answer_part=push["part"])
    (turn,) = turn_items([push], [record], NOW)
    assert (turn["push"], turn["answers"]) == (True, record["message"])


def test_a_turn_never_comes_before_its_message():
    record = message(accepted_message_id="in_1", queued_at=utc_text(NOW + 60))
    (turn,) = turn_items([part()], [record], NOW)
    assert turn["order"] >= message_item(record)["order"]


# ---------------------------------------------------------------- the protocol


def test_a_number_that_a_browser_cannot_hold_is_shown_exactly():
    number = 10**30 + 1
    assert (
        part_item(part(sequence=number))["sequence"]
        == part_detail(part(sequence=number))["sequence"]
        == str(number)
    )


def test_a_part_without_a_signature_of_its_own_has_no_secret():
    assert part_detail(part())["secret"] is None


@pytest.mark.parametrize("text", ['"hi"', "5"])
def test_the_token_of_a_task_is_not_shown(text):
    body = f'{{"session_id": "s-1", "text": {text}, "reply_to_task": "TOKEN"}}'
    record = message_record(body=body, reply_to_task="TOKEN")
    assert "TOKEN" not in json.dumps([message_item(record), message_detail(record, body)])


def test_a_context_is_shown_as_json():
    assert message_detail(message(context='{"order": 17}'), "")["context"] == '{\n  "order": 17\n}'
    assert message_detail(message(), "")["context"] == ""


def test_a_last_response_is_shown_as_json_if_it_is_some():
    answer = {"status": 400, "body": '{"msg":"no"}'}
    assert message_detail(message(last_response=answer), "")["response"] == 'HTTP 400\n{\n  "msg": "no"\n}'
    answer = {"status": 502, "body": "<html>"}
    assert message_detail(message(last_response=answer), "")["response"] == "HTTP 502\n<html>"


def test_a_message_that_is_not_valid_has_no_curl_line():
    assert curl_command("{}") is None


@pytest.mark.parametrize(
    ("action", "path"), [("push", '"$BOT_URL"'), ("sync", '"$BOT_URL/sync"'), ("reset", '"$BOT_URL/reset"')]
)
def test_a_curl_line_posts_to_the_path_of_the_action(action, path):
    fields = {"session_id": "s-1", "action": action} | ({} if action == "reset" else {"text": "x"})
    assert path in curl_command(json.dumps(fields))


@pytest.mark.parametrize("missing", ["BOT_URL", "BOT_INBOUND_SECRET"])
def test_a_curl_line_without_its_variables_names_them(missing):
    line = curl_command('{"session_id": "s-1", "text": "x"}')
    given = {"BOT_URL": "http://127.0.0.1:9", "BOT_INBOUND_SECRET": "x", "PATH": os.environ["PATH"]}
    del given[missing]
    done = subprocess.run(["bash", "-c", line], env=given, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert missing in done.stderr
    assert "Traceback" not in done.stderr


def test_a_curl_line_takes_variables_that_are_not_exported():
    line = curl_command('{"session_id": "s-1", "text": "x"}')
    script = f"BOT_URL=http://127.0.0.1:9; BOT_INBOUND_SECRET=x; {line}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    assert "curl: (7)" in done.stderr


# ---------------------------------------------------------------- bots


@pytest.mark.parametrize(
    ("item", "circuit"),
    [
        ({}, "closed"),
        ({"failures": 2, "probe_at": utc_text(NOW + 5)}, "open"),
        ({"failures": 2, "probe_at": utc_text(NOW + 5), "probing": True}, "probing"),
        ({"failures": 2, "probe_at": utc_text(NOW + 5), "paused_since": utc_text(NOW)}, "paused"),
    ],
)
def test_a_bot_shows_its_circuit(item, circuit):
    shown = bot_item("sales", BotState.of(item), 3, 50)
    assert (shown["circuit"], shown["in_flight"], shown["failures"]) == (circuit, 3, item.get("failures", 0))
