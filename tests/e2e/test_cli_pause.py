"""`relay bots pause` and `relay bots resume`, as they are typed."""

import json
import signal

import pytest

from relay import BotAdmin


def bot_in_list(talk, relay):
    listed = map(json.loads, relay("bots", "list", "--json").stdout.splitlines())
    return next(fields for fields in listed if fields["bot"] == talk.name)


def reported(drain):
    """Return the first line that a drain reports."""
    return drain.stderr.readline()


def test_langbot_is_upgraded_while_its_bot_is_paused(talk, relay):
    talk.bot.awake.clear()
    talk.deployed.accepted(talk.push("open"))
    with relay.running("bots", "pause", talk.name, "--drain") as drain:
        assert reported(drain).startswith("waiting for the replies to 1 message, ")
        talk.push("held", session="another")
        talk.bot.awake.set()
        assert drain.wait(90) == 0
        assert drain.stdout.read().startswith(f"bot {talk.name} is paused and drained: ")
    assert (talk.texts(), len(talk.bot.emitted)) == (["open"], 1)

    tested = relay("bots", "test", talk.name)
    resumed = relay("bots", "resume", talk.name)

    assert (tested.returncode, resumed.returncode) == (0, 0)
    assert "held" not in talk.texts()
    assert talk.conversation("third").wait(talk.push("next", session="third"), timeout=60)


def test_drain_that_is_interrupted_leaves_the_bot_paused_and_says_so(talk, relay):
    talk.bot.awake.clear()
    talk.deployed.accepted(talk.push("open"))
    with relay.running("bots", "pause", talk.name, "--drain") as drain:
        reported(drain)
        drain.send_signal(signal.SIGINT)
        assert drain.wait(60) == 130
        said = drain.stderr.read().splitlines()[-1]
    assert f"bot {talk.name} stays paused" in said
    assert f"`relay bots resume {talk.name}`" in said
    assert bot_in_list(talk, relay)["paused_since"]


def test_bot_that_is_resumed_meanwhile_is_not_drained(talk, relay):
    talk.bot.awake.clear()
    talk.deployed.accepted(talk.push("open"))
    with relay.running("bots", "pause", talk.name, "--drain") as drain:
        reported(drain)
        assert BotAdmin(talk.deployed.stack).resume(talk.name)
        assert drain.wait(60) == 1
        assert "was resumed meanwhile, so it is not drained" in drain.stderr.read()


def test_pause_is_shown_by_the_list_the_doctor_and_the_message(talk, relay):
    paused = json.loads(relay("bots", "pause", talk.name, "--json").stdout)
    again = json.loads(relay("bots", "pause", talk.name, "--json").stdout)
    assert again == paused == {"bot": talk.name, "paused_since": paused["paused_since"], "drained": False}
    day_and_time = f"{paused['paused_since'][:10]} {paused['paused_since'][11:19]} UTC"
    assert f"paused since {day_and_time}" in relay("bots", "list").stdout
    done = relay("doctor", "--bot", talk.name)
    assert f"note  {talk.name}: pause" in done.stdout
    held = talk.push("held")
    shown = relay("show", "--bot", talk.name, talk.session, held.message_id)
    assert f"its bot was paused at {day_and_time}" in shown.stdout + shown.stderr


def test_bot_that_is_not_paused_is_not_resumed(talk, relay):
    assert relay("bots", "resume", talk.name).stdout == f"bot {talk.name} is not paused\n"
    assert json.loads(relay("bots", "resume", talk.name, "--json").stdout)["was_paused"] is False


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_bot_that_does_not_exist_is_refused(relay, action):
    done = relay("bots", action, "nobody")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("relay: there is no bot 'nobody'")
