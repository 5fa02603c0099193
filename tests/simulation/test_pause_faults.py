"""Scenarios: what becomes of the messages of a bot that an operator pauses."""

from dataclasses import replace

from relay import BotAdmin
from relay.domain.admission import MAX_PAUSE, PAUSED_TOO_LONG
from relay.metrics import Metric
from relay_cli.open_turns import until_drained
from simulation.connections import Post
from simulation.faults import SHORT_MARGIN, SHORT_RETENTION, Fault
from simulation.model_langbot import Turn
from simulation.planned_world import BAD_GATEWAY, BOT, USUAL, PlannedWorld, planned_world

RETRY_FOR = 300
SLOW = Turn(thinks=100)
USUAL_BUT_LATE = replace(USUAL, late=8)


def drain(world: PlannedWorld) -> float:
    """Pause the bot and wait until it is drained; return when it was."""
    admin = BotAdmin(world.deployment.stack)

    world.pause()
    world.do(lambda: list(until_drained(admin, BOT)))
    world.outcome.diary.stops[-1].drained_at = world.world.now
    return world.world.now


def test_a_paused_bot_gets_its_messages_in_order_when_it_is_resumed() -> None:
    with planned_world() as world:
        world.pause()
        hello, again = world.say("hello"), world.say("again")
        world.run(7200)
        assert (world.posts, world.record(hello)) == ([], {})
        world.resume()
        world.run(MAX_PAUSE + 5)
        assert (world.state(hello), world.state(again)) == ("answered", "answered")
        assert world.texts == ["hello", "again"]


def test_no_message_of_a_burst_goes_out_once_the_pause_has_begun() -> None:
    with planned_world() as world:
        for number in range(3):
            world.say(f"early {number}")
            world.run(0.3)
        world.pause()
        world.say("late")
        world.run(10)
        assert world.texts == ["early 0", "early 1", "early 2"]
        world.resume()
        world.run(MAX_PAUSE + 5)


def test_the_time_to_retry_does_not_run_while_a_bot_is_paused() -> None:
    with planned_world(retry_for=RETRY_FOR) as world:
        world.responds(BAD_GATEWAY)
        hello = world.say()
        world.run(1)
        world.pause()
        world.run(RETRY_FOR * 10)
        assert (world.state(hello), len(world.posts)) == ("retrying", 1)
        world.responds(BAD_GATEWAY)
        world.resume()
        world.run(MAX_PAUSE + 30)
        assert (world.state(hello), len(world.posts)) == ("answered", 3)


def test_a_message_that_fails_after_a_pause_is_parked_when_its_time_is_up() -> None:
    with planned_world(retry_for=RETRY_FOR) as world:
        world.responds(*[BAD_GATEWAY] * 99)
        hello = world.say()
        world.run(1)
        world.pause()
        world.run(RETRY_FOR)
        world.resume()
        world.run(RETRY_FOR - 10)
        assert world.state(hello) == "retrying"
        world.run(MAX_PAUSE + 20)
        assert world.state(hello) == "parked"


def test_an_attempt_that_a_pause_overtakes_does_not_park_its_message() -> None:
    with planned_world(retry_for=60) as world:
        # The sixth attempt is made when the time is up.
        world.responds(*[BAD_GATEWAY] * 5, replace(BAD_GATEWAY, late=8))
        hello = world.say()
        world.run(66)
        world.pause()
        world.run(1000)
        assert (world.state(hello), len(world.posts)) == ("retrying", 6)
        world.resume()


def test_a_secret_that_cannot_be_read_parks_no_message_of_a_paused_bot() -> None:
    with planned_world(retry_for=RETRY_FOR) as world:
        world.pause()
        world.fails(Fault.DENIED, "secretsmanager", by="push")
        hello = world.say()
        world.run(RETRY_FOR * 10)
        assert world.state(hello) == "retrying"
        world.works()
        world.resume()
        world.run(2 * MAX_PAUSE)
        assert world.state(hello) == "answered"


def test_a_message_is_parked_before_sqs_deletes_it_and_can_be_resent() -> None:
    with planned_world(queue_retention=SHORT_RETENTION) as world:
        world.pause()
        hello = world.say()
        world.run(SHORT_RETENTION - SHORT_MARGIN - MAX_PAUSE)
        assert world.state(hello) == ""
        world.run(2 * MAX_PAUSE + 5)
        assert (world.state(hello), world.record(hello)["reason"]) == ("parked", PAUSED_TOO_LONG)
        world.resume()
        resend = world.resend(hello)
        assert resend
        world.run(10)
        assert world.state(resend) == "answered"


def test_a_pause_is_not_late_and_neither_is_what_it_held_up() -> None:
    with planned_world(max_in_flight=1) as world:
        world.say(session="other", turn=SLOW)
        world.run(1)
        world.pause()
        world.say()
        world.run(20_000)
        world.resume()
        world.say(session="another", turn=SLOW)
        world.run(MAX_PAUSE)
        assert world.metrics(Metric.LATE_MESSAGES) == []


def test_a_message_that_waits_on_after_a_pause_is_late() -> None:
    with planned_world() as world:
        world.pause()
        world.say()
        world.run(20_000)
        world.resume()
        world.responds(*[BAD_GATEWAY] * 99)
        world.run(2000)
        assert world.metrics(Metric.LATE_MESSAGES)
        world.langbot.responses.clear()


def test_a_bot_is_drained_when_its_turns_have_ended() -> None:
    with planned_world() as world:
        slow = world.say(turn=SLOW)
        world.run(1)
        assert drain(world) - world.posts[0].began > SLOW.thinks
        assert world.state(slow) == "answered"
        world.resume()


def test_a_bot_is_not_drained_while_push_makes_an_attempt() -> None:
    with planned_world() as world:
        world.responds(USUAL_BUT_LATE)
        world.say()
        world.run(1)
        drained_at = drain(world)
        (post,) = world.posts
        assert post.ended < drained_at
        world.resume()


def test_a_bot_is_not_drained_while_an_attempt_probes_it() -> None:
    with planned_world() as world:
        world.responds(BAD_GATEWAY, USUAL_BUT_LATE)
        world.say()
        world.run(3)
        drained_at = drain(world)
        assert len(world.posts) == 2
        assert _last(world).ended < drained_at
        world.resume()


def _last(world: PlannedWorld) -> Post:
    return max(world.posts, key=lambda post: post.began)
