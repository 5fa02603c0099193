import json

import pytest

from relay.domain.bot import Bot
from relay.domain.message import (
    MAX_CONTEXT_BYTES,
    MAX_REQUEST_BYTES,
    carried,
    named_session,
    parse_message,
    parse_session_body,
    request_for,
    session_body,
    without_task,
)
from relay.errors import InvalidMessage


def message(**fields):
    return parse_message(json.dumps({"session_id": "t-1", "text": "hi"} | fields))


def body_of(sent, bots_session_type=None):
    """Return the fields that are posted to the bot for a message."""
    return json.loads(request(sent, bots_session_type).body)


def request(sent, bots_session_type=None, group_at=False):
    return request_for(sent, Bot("default", session_type=bots_session_type, group_at=group_at))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "not valid JSON"),
        ("hello", "not valid JSON"),
        ("[]", "it must be object"),
        (
            '{"Type": "Notification", "MessageId": "1", "TopicArn": "arn", "Message": "{}"}',
            "looks like an envelope of SNS: turn on raw message delivery",
        ),
        (
            '["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": "b", "s3Key": "k"}]',
            "looks like a pointer to S3",
        ),
        ('"text"', "it must be object"),
        ("{}", "session_id is required"),
        ('{"session_id": 7, "text": "x"}', "session_id must be string"),
        ('{"session_id": null, "text": "x"}', "session_id is required"),
        ('{"session_id": "", "text": "x"}', "session_id must be longer than or equal to 1 characters"),
        (
            '{"session_id": "%s", "text": "x"}' % ("s" * 481),
            "session_id must be shorter than or equal to 480",
        ),
        ('{"session_id": "a"}', "give either message or text"),
        ('{"session_id": "a", "text": "x", "message": [{"type": "X"}]}', "give either message or text"),
        ('{"session_id": "a", "text": ""}', "text must be longer than or equal to 1"),
        ('{"session_id": "a", "text": ["x"]}', "text must be string"),
        ('{"session_id": "a", "message": []}', "message must contain at least 1 items"),
        ('{"session_id": "a", "message": "x"}', "message must be array"),
        ('{"session_id": "a", "message": ["x"]}', "message[0] must be object"),
        ('{"session_id": "a", "message": [{"text": "x"}]}', "message[0].type is required"),
        ('{"session_id": "a", "message": [{"type": "Plain"}]}', "message[0].text is required"),
        ('{"session_id": "a", "message": [{"type": "Plain", "text": 1}]}', "message[0].text must be string"),
        ('{"session_id": "a", "text": "x", "action": "shout"}', "action must be one of"),
        ('{"session_id": "a", "text": "x", "bot": "Sales"}', "bot must match pattern"),
        ('{"session_id": "a", "text": "x", "bot": "sales\\n"}', "bot must match pattern"),
        ('{"session_id": "a", "text": "x", "bot": "../other"}', "bot must match pattern"),
        ('{"session_id": "a", "text": "x", "session_type": "channel"}', "session_type must be one of"),
        ('{"session_id": "a", "text": "x", "sender": "Ann"}', "sender must be object"),
        ('{"session_id": "a", "text": "x", "sender": {"id": 5}}', "sender.id must be string"),
        ('{"session_id": "a", "text": "x", "expect_reply": "no"}', "expect_reply must be boolean"),
        ('{"session_id": "a", "text": "x", "context": "17"}', "context must be object"),
        ('{"session_id": "a", "text": "x", "context": [17]}', "context must be object"),
        ('{"session_id": "a", "text": "\\ud800"}', "text holds a lone surrogate"),
        ('{"session_id": "a", "text": "x", "\\udfff": 1}', "a key holds a lone surrogate"),
        ('{"session_id": "a", "text": "x", "n": NaN}', "NaN is not JSON"),
        ('{"session_id": "a", "text": "x", "n": 1e400}', "a number is too large"),
        ('{"session_id": "a", "text": "x", "n": %s}' % ("9" * 5000), "not valid JSON"),
        ('{"session_id": "a", "session_id": "b", "text": "x"}', "an object has the same key twice"),
        ("[" * 10_000 + "]" * 10_000, "nested deeper than 200 levels"),
        (
            '{"session_id": "a", "text": "x", "n": %s}' % ("[" * 300 + "]" * 300),
            "nested deeper than 200 levels",
        ),
    ],
)
def test_an_invalid_message_is_refused_and_its_fault_named(body, reason):
    with pytest.raises(InvalidMessage) as refused:
        parse_message(body)
    assert reason in str(refused.value)


def test_a_fault_never_quotes_the_message():
    with pytest.raises(InvalidMessage) as refused:
        parse_message('{"session_id": "a", "text": "x", "session_type": "private words"}')
    assert "private words" not in str(refused.value)


@pytest.mark.parametrize(
    "field", ["message", "bot", "action", "session_type", "sender", "expect_reply", "more"]
)
def test_null_means_that_a_field_is_not_given(field):
    assert message(**{field: None}) == message()


def test_null_in_the_sender_means_that_a_field_is_not_given():
    assert message(sender={"id": "u1", "name": None}).sender == {"id": "u1"}


def test_the_sender_goes_to_the_bot():
    assert body_of(message(sender={"id": "u1"}))["sender"] == {"id": "u1"}


def test_a_request_is_utf_8_and_not_escaped():
    assert "客" in request(message(text="客")).body.decode()


def test_the_body_of_a_session_has_only_its_bot_and_its_id():
    body = session_body("sales", "票-1")
    assert body == '{"bot": "sales", "session_id": "票-1"}'
    assert parse_session_body(body) == parse_message(
        '{"bot": "sales", "session_id": "票-1", "action": "reset"}'
    )


@pytest.mark.parametrize("body", ["no JSON", "[]", "{}"])
def test_the_body_of_a_session_is_refused_if_it_names_none(body):
    with pytest.raises(InvalidMessage):
        parse_session_body(body)


def test_a_byte_order_mark_before_a_message_is_ignored():
    assert parse_message('\ufeff{"session_id": "t-1", "text": "hi"}') == message()


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"session_id": "t-1", "bot": "sales", "text": 1}', ("sales", "t-1")),
        ('{"session_id": "t-1", "bot": null, "text": NaN}', ("default", "t-1")),
        ('{"session_id": "t-1", "text": "\\ud800"}', ("default", "t-1")),
        ('{"session_id": "t-1", "bot": "No Bot", "text": "x"}', ("", "t-1")),
        ('{"session_id": "t-1", "bot": 7, "text": "x"}', ("", "t-1")),
        ('{"session_id": 7, "bot": "sales", "text": "x"}', None),
        ('{"session_id": "", "text": "x"}', None),
        ("[]", None),
        ("no JSON", None),
    ],
)
def test_the_session_of_an_invalid_message_is_read_if_it_names_one(body, named):
    assert named_session(body) == named


AT_BOT = {"type": "At", "target": "http_bot"}


def test_a_message_to_a_group_is_addressed_if_the_bots_secret_says_so():
    sent = message(session_type="group")
    assert json.loads(request(sent, group_at=True).body)["message"][0] == AT_BOT
    assert AT_BOT not in json.loads(request(sent).body)["message"]
    assert AT_BOT not in json.loads(request(message(), group_at=True).body)["message"]


def test_a_message_that_addresses_the_bot_is_not_addressed_again():
    body = json.dumps({"session_id": "t-1", "session_type": "group", "message": [AT_BOT]})
    assert json.loads(request(parse_message(body), group_at=True).body)["message"] == [AT_BOT]


def test_text_is_shorthand_for_one_plain_segment():
    assert body_of(message()) == {"session_id": "t-1", "message": [{"type": "Plain", "text": "hi"}]}


def test_segments_go_to_the_bot_as_they_came():
    segments = [
        {"type": "Plain", "text": "é\n"},
        {"type": "Image", "base64": "data:…", "odd": [1, 2.5, None]},
    ]
    body = json.dumps({"session_id": "t-1", "message": segments})
    assert body_of(parse_message(body))["message"] == segments


def test_a_reset_needs_no_text_and_sends_none():
    reset = parse_message('{"session_id": "t-1", "action": "reset"}')
    assert reset.segments == []
    assert body_of(reset, "group") == {"session_id": "t-1", "session_type": "group"}


def test_the_messages_session_type_counts_before_the_bots():
    assert body_of(message(session_type="person"), "group")["session_type"] == "person"
    assert body_of(message(), "group")["session_type"] == "group"


def test_unknown_fields_do_not_reach_the_bot():
    assert "callback_url" not in body_of(message(callback_url="http://elsewhere"))


def test_a_request_of_one_mebibyte_is_sent_and_one_byte_more_is_refused():
    room = MAX_REQUEST_BYTES - len(request(message(text="x")).body) + 1
    assert len(request(message(text="x" * room)).body) == MAX_REQUEST_BYTES
    with pytest.raises(InvalidMessage, match="1048577 bytes"):
        request(message(text="x" * (room + 1)))


@pytest.mark.parametrize(
    ("fields", "bots_session_type", "expected"),
    [
        ({}, None, True),
        ({}, "person", True),
        ({}, "group", False),
        ({"session_type": "group"}, None, False),
        ({"session_type": "group", "expect_reply": True}, None, True),
        ({"expect_reply": False}, None, False),
        ({"action": "reset", "expect_reply": True}, None, False),
    ],
)
def test_silence_is_a_fault_only_if_a_reply_is_expected(fields, bots_session_type, expected):
    assert request(message(**fields), bots_session_type).expects_reply is expected


def test_sessions_of_different_bots_never_share_a_key():
    assert message(bot="a", session_id="b#c").session != message(bot="a-b", session_id="c").session
    assert message(bot="sales", session_id="#1").session == "sales##1"


# ---------------------------------------------------------------- context


def test_a_context_is_kept_as_it_was_given_and_not_sent():
    context = {"order": 10**50, "none": None, "text": "你好", "deep": json.loads("[" * 150 + "]" * 150)}
    sent = message(context=context)
    assert json.loads(sent.context) == context
    assert body_of(sent) == body_of(message())


def test_a_context_of_nothing_is_one():
    assert message(context={}).context == "{}"


@pytest.mark.parametrize("character", ["x", "ü", '"'])
def test_a_context_has_8_kb_at_most_counted_as_json(character):
    def context(size):
        of_character = len(json.dumps(character, ensure_ascii=False).encode()) - 2
        return {"n": character * ((size - len('{"n": ""}')) // of_character)}

    largest = MAX_CONTEXT_BYTES - (MAX_CONTEXT_BYTES - len('{"n": ""}')) % 2
    assert len(message(context=context(largest)).context.encode()) == largest
    with pytest.raises(InvalidMessage, match="bytes as JSON; a message may carry 8192"):
        message(context=context(largest + 2))


@pytest.mark.parametrize(
    ("body", "context"),
    [
        ('{"session_id": "s", "context": {"order": 17}}', '{"order": 17}'),
        ('{"text": "half an emoji \\ud800", "context": {"order": 17}}', '{"order": 17}'),
        ('{"text": 5, "context": {"order": 17', None),
        ('{"context": "no object"}', None),
        ('{"context": {"n": "%s"}}' % ("x" * MAX_CONTEXT_BYTES), None),
        ('{"context": {"n": %s}}' % ("[" * 900 + "]" * 900), None),
        ("no JSON", None),
        ("[]", None),
        ("{}", None),
    ],
)
def test_a_valid_context_of_an_invalid_message_is_kept(body, context):
    assert carried(body, None).get("context") == context


# ---------------------------------------------------------------- reply_to_task


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"reply_to_task": 5}, "reply_to_task must be string"),
        ({"reply_to_task": ""}, "reply_to_task must be longer"),
        ({"reply_to_task": "x" * 2049}, "reply_to_task must be shorter"),
    ],
)
def test_a_task_is_named_by_its_token(fields, reason):
    with pytest.raises(InvalidMessage, match=reason):
        message(**fields)


def test_the_token_of_a_task_is_not_sent():
    sent = message(reply_to_task="TOKEN")
    assert sent.reply_to_task == "TOKEN"
    assert body_of(sent) == body_of(message())


@pytest.mark.parametrize(
    ("fields", "bots_session_type"),
    [
        ({"expect_reply": False}, None),
        ({}, "group"),
        ({"session_type": "group"}, None),
        ({"action": "reset"}, None),
    ],
)
def test_a_message_that_expects_no_reply_has_no_task(fields, bots_session_type):
    silent = parse_message(json.dumps({"session_id": "t-1", "text": "hi", "reply_to_task": "TOKEN"} | fields))
    with pytest.raises(InvalidMessage, match="reply_to_task needs a message that expects a reply") as refused:
        request(silent, bots_session_type)
    assert "TOKEN" not in str(refused.value)


def test_a_message_to_a_group_has_a_task_if_it_expects_a_reply():
    assert request(message(reply_to_task="TOKEN", expect_reply=True), "group").expects_reply


def test_an_invalid_message_keeps_the_token_of_its_task():
    body = '{"session_id": "s", "text": 5, "reply_to_task": "TOKEN", "context": [], "NaN": NaN}'
    assert carried(body, None) == {"reply_to_task": "TOKEN"}
    assert carried('{"text": "x", "reply_to_task": 5}', None) == {}


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"text": "hi", "reply_to_task" : "TOKEN=="}', '{"text": "hi", "reply_to_task" : "hidden"}'),
        ('{"reply_to_task":"TO\\"KEN\\u003d","n":1}', '{"reply_to_task":"hidden","n":1}'),
        ('{"reply_to_task": "TOKEN', '{"reply_to_task": "hidden'),
        ('{"reply_to_task": "TOKEN\\', '{"reply_to_task": "hidden\\'),
        ('{"reply_to_task": 5}', '{"reply_to_task": 5}'),
        ("no JSON", "no JSON"),
    ],
)
def test_a_body_is_shown_without_the_token_of_its_task(body, shown):
    assert without_task(body) == shown
