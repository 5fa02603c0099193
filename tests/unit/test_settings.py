import pytest

from relay.settings import (
    CallbackSettings,
    PublishSettings,
    PushSettings,
    SettingsError,
    SettleSettings,
)
from support.environment_variables import VARIABLES


def test_settings_are_read_from_the_environment():
    settings = PushSettings.from_env(VARIABLES)
    assert (settings.replies_table, settings.keep_days, settings.retry_for_seconds) == ("replies", 90, 21600)


@pytest.mark.parametrize("missing", [name.upper() for name in PushSettings.__dataclass_fields__])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_missing_variable_is_named_in_one_line(missing, value):
    environment = {name: text for name, text in VARIABLES.items() if name != missing}
    if value is not None:
        environment[missing] = value
    with pytest.raises(SettingsError) as refused:
        PushSettings.from_env(environment)
    assert str(refused.value) == f"environment variable {missing} is not set"


@pytest.mark.parametrize("variable", ["KEEP_DAYS", "RETRY_FOR_SECONDS"])
def test_a_variable_that_is_not_the_number_it_must_be_is_named(variable):
    with pytest.raises(SettingsError, match=f"{variable} must be a whole number"):
        PushSettings.from_env(VARIABLES | {variable: "many"})


COMMON = {"REPLIES_TABLE", "OVERFLOW_BUCKET"}


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        (CallbackSettings, {"METRICS_NAMESPACE", "BOT_SECRET_PREFIX", "KEEP_DAYS", "SPILL_QUEUE_URL"}),
        (
            SettleSettings,
            {
                "METRICS_NAMESPACE",
                "MESSAGES_TABLE",
                "PUSH_QUEUE_URL",
                "ANSWER_DEADLINE_SECONDS",
                "MAX_RESENDS",
                "TRIGGER_SOURCES",
            },
        ),
        (
            PublishSettings,
            {"METRICS_NAMESPACE", "MESSAGES_TABLE", "EVENT_BUS_NAME", "STACK_NAME", "TASK_OWNERS"},
        ),
    ],
)
def test_a_function_needs_only_its_own_variables(settings, own):
    settings.from_env({name: VARIABLES[name] for name in COMMON | own})
