"""Resending and dropping many messages at once, as after an outage."""

import json
from datetime import UTC, datetime

import pytest

from relay import Messages
from relay.adapters.messages_table import MessagesTable
from relay.domain.selection import Result, Selection
from support.due_items import handle_due, make_overdue
from support.parked_messages import park


@pytest.fixture
def messages(talk):
    return Messages(talk.deployed.stack)


@pytest.fixture
def of_bot(talk):
    return Selection(bot=talk.name)


def keys(records):
    return [{"session": record["session"], "message": record["message"]} for record in records]


def waiting(talk, messages):
    return list(messages.awaiting_operator(bot=talk.name))


def results(handled):
    return [one.result for one in handled]


def test_many_are_resent_in_the_order_of_their_session(talk, relay):
    first = talk.push("SILENT first")
    talk.deployed.state(first, "delivered")
    park(talk, "second")
    make_overdue(talk, first)  # it waits for the operator since later than the second
    handle_due(talk)
    talk.deployed.state(first, "unanswered")
    done = relay("resend", "--bot", talk.name, "--yes")
    assert (done.returncode, done.stdout.splitlines()[2:], done.stderr) == (
        0,
        ["selected: 2 messages", "resent: 2"],
        "",
    )
    talk.conversation().wait(talk.push("then"))
    assert talk.texts() == ["SILENT first", "second", "SILENT first", "second", "then"]


def test_many_are_dropped_with_the_reason(talk, relay, messages):
    sent = [park(talk, session=f"s{number}")[0] for number in range(3)]
    done = relay("drop", "--bot", talk.name, "--state", "parked", "--yes", "asked by phone")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "dropped: 3")
    assert {talk.deployed.record(one)["drop_reason"] for one in sent} == {"asked by phone"}
    assert not waiting(talk, messages)


def test_a_dry_run_shows_the_first_ten_and_changes_nothing(talk, relay, messages):
    for number in range(11):
        park(talk, session=f"s{number}")
    done = relay("resend", "--bot", talk.name, "--dry-run")
    *shown, counted = done.stdout.splitlines()
    assert (len(shown), counted) == (10, "selected: 11 messages; the first 10 are above")
    assert len(waiting(talk, messages)) == 11


def test_many_are_selected_by_reason_and_time(talk, relay):
    _, record = park(talk)
    at = record["parked_at"]
    later = datetime.fromtimestamp(datetime.fromisoformat(at).timestamp() + 1, UTC).isoformat()

    def selected(*more):
        counted = relay("drop", "--bot", talk.name, *more, "--dry-run", "--json", "why").stdout
        return json.loads(counted.splitlines()[-1])["selected"]

    assert selected("--reason", "answered 400", "--since", at, "--until", at) == 1
    assert [selected(*more) for more in (["--reason", "503"], ["--since", later])] == [0, 0]
    assert selected("--state", "unanswered") == 0


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_many_are_left_alone_unless_the_operator_says_yes(talk, relay, messages, answer):
    park(talk)
    done = relay("resend", "--bot", talk.name, text=answer)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "nothing was changed")
    assert len(waiting(talk, messages)) == 1


def test_what_cannot_be_resent_is_named_and_the_others_are_resent(talk, relay, messages, workers):
    park(talk, "good")
    _, bad = park(talk, "bad", session="other")
    workers.overwrite(bad | {"body": "no JSON"})
    done = relay("resend", "--bot", talk.name, "--yes", "--json")
    *_, refused, counts = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, counts) == (2, {"resent": 1, "left": 0, "refused": 1})
    assert (refused["message"], refused["fault"]) == (bad["message"], "not valid JSON")
    assert [record["message_id"] for record in waiting(talk, messages)] == [bad["message_id"]]


def test_a_message_whose_body_is_gone_does_not_hold_up_the_others(talk, relay):
    _, bad = park(talk, "x" * 500_000)
    park(talk, "good", session="other")
    bucket = talk.deployed.local.outputs["OverflowBucketName"]
    talk.deployed.client("s3").delete_object(Bucket=bucket, Key=bad["overflow"])
    done = relay("resend", "--bot", talk.name, "--yes")
    *_, refused, counts = done.stdout.splitlines()
    assert (done.returncode, counts) == (2, "resent: 1, 1 not possible")
    assert refused.endswith(f"{bad['message']}  its body cannot be read from the overflow bucket")


def test_two_operators_at_the_same_time_resend_each_message_once(talk, messages, of_bot):
    selected = keys(park(talk, f"text {number}")[1] for number in range(3))
    both = zip(
        messages.handle(selected, of_bot, messages.resend),
        messages.handle(selected, of_bot, messages.resend),
        strict=True,
    )
    assert [results(pair) for pair in both] == [[Result.DONE, Result.LEFT]] * 3
    talk.conversation().wait(talk.push("then"))
    assert talk.texts() == [f"text {n}" for n in range(3)] * 2 + ["then"]


def test_a_run_that_was_interrupted_sends_nothing_twice(talk, relay, messages, of_bot, monkeypatch):
    selected = keys(park(talk, f"text {number}")[1] for number in range(3))
    run = messages.handle(selected, of_bot, messages.resend)
    assert next(run).result is Result.DONE

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MessagesTable, "mark_resent", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(run)
    assert relay("resend", "--bot", talk.name, "--yes").returncode == 0
    talk.conversation().wait(talk.push("then"))
    assert talk.texts() == [f"text {n}" for n in range(3)] * 2 + ["then"]


def test_a_message_that_another_ended_meanwhile_is_left(talk, messages, of_bot):
    _, record = park(talk)
    messages.drop(record, "by another")
    (handled,) = messages.handle(keys([record]), of_bot, messages.resend)
    assert handled.result is Result.LEFT
    assert len(talk.bot.received) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["resend"], "at least one of --bot, --reason, --state, --since, --until"),
        (["resend", "--yes"], "at least one of --bot, --reason, --state, --since, --until"),
        (["resend", "s"], "give a session and a message"),
        (["drop", "s", "--bot", "b", "why"], "and no session"),
        (["resend", "s", "id", "--reason", "x"], "--reason is for many messages"),
        (["resend", "s", "id", "--dry-run"], "--dry-run is for many messages"),
        (["resend", "--since", "yesterday"], "'yesterday' is not a time such as 2026-11-25T10:30"),
        (["resend", "--state", "answered"], "invalid choice: 'answered'"),
        (["resend", "--bot", "b", "--rate", "0"], "'0' is not a number of messages a second above 0"),
        (["resend", "--bot", "b", "--json"], "with --json nothing is asked: add --yes"),
    ],
)
def test_options_that_name_no_messages_are_refused_in_one_line(relay, words, said):
    done = relay(*words)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
