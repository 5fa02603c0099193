import pytest

from relay.settings import (
    CallbackSettings,
    PushSettings,
    SettingsError,
    SettleSettings,
    SweepSettings,
    TellSettings,
)

ENV = {
    "BOT_SECRET_PREFIX": "relay/bots/",
    "REPLIES_TABLE": "replies",
    "OVERFLOW_BUCKET": "bucket",
    "KEEP_DAYS": "90",
    "PUSH_QUEUE_URL": "https://sqs/push.fifo",
    "PARKED_QUEUE_URL": "https://sqs/parked.fifo",
    "MESSAGES_TABLE": "messages",
    "RETRY_FOR": "21600",
    "ANSWER_DEADLINE": "900",
    "MAX_AWAITING": "50",
    "RESEND_UNANSWERED": "0",
    "UNSETTLED_QUEUE_URL": "https://sqs/unsettled",
    "SPILL_QUEUE_URL": "https://sqs/spill",
    "EVENT_BUS_NAME": "default",
    "STACK_NAME": "relay",
}


def test_settings_are_read_from_the_environment():
    settings = PushSettings.from_env(ENV)
    assert (settings.replies_table, settings.keep_days, settings.retry_for) == ("replies", 90, 21600)


@pytest.mark.parametrize("missing", [name.upper() for name in PushSettings.__dataclass_fields__])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_variable_is_named_in_one_line(missing, value):
    env = {name: text for name, text in ENV.items() if name != missing} | ({missing: value} if value else {})
    with pytest.raises(SettingsError) as refused:
        PushSettings.from_env(env)
    assert str(refused.value) == f"environment variable {missing} is not set"


@pytest.mark.parametrize("variable", ["KEEP_DAYS", "RETRY_FOR"])
def test_a_number_that_is_none_is_named(variable):
    with pytest.raises(SettingsError, match=f"{variable} must be a whole number"):
        PushSettings.from_env(ENV | {variable: "many"})


@pytest.mark.parametrize(
    ("settings", "needs"),
    [
        (
            CallbackSettings,
            ["BOT_SECRET_PREFIX", "REPLIES_TABLE", "OVERFLOW_BUCKET", "KEEP_DAYS", "SPILL_QUEUE_URL"],
        ),
        (SettleSettings, ["MESSAGES_TABLE", "REPLIES_TABLE", "UNSETTLED_QUEUE_URL", "ANSWER_DEADLINE"]),
        (
            SweepSettings,
            [
                "BOT_SECRET_PREFIX",
                "MESSAGES_TABLE",
                "REPLIES_TABLE",
                "OVERFLOW_BUCKET",
                "ANSWER_DEADLINE",
                "MAX_AWAITING",
                "RESEND_UNANSWERED",
            ],
        ),
        (
            TellSettings,
            ["MESSAGES_TABLE", "REPLIES_TABLE", "OVERFLOW_BUCKET", "EVENT_BUS_NAME", "STACK_NAME"],
        ),
    ],
)
def test_a_function_asks_only_for_what_it_needs(settings, needs):
    settings.from_env({name: ENV[name] for name in needs})
