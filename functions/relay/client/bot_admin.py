"""BotAdmin: what an operator can see of the bots of a stack, and change."""

from datetime import datetime

from relay import environment
from relay.client.stack import Stack
from relay.domain.admission import SLOT_COUNT_TTL, BotState, is_sending
from relay.domain.bot import BOT_NAME
from relay.domain.keys import RecordKey
from relay.errors import BotRemoved


class BotAdmin:
    """The bots of a stack. All methods raise botocore's errors."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._secretsmanager = stack.client("secretsmanager")
        self._prefix = stack.bot_secret_prefix
        self._messages_table = stack.open_messages_table()
        self._awaiting_index = stack.open_awaiting_index()
        self._admission_control = stack.open_admission_control()

    def names(self) -> list[str]:
        """Return the names of all bots, sorted."""
        pages = self._secretsmanager.get_paginator("list_secrets").paginate(
            Filters=[{"Key": "name", "Values": [self._prefix]}]
        )
        names = [secret["Name"] for page in pages for secret in page["SecretList"]]
        # The filter knows no upper case, and other secrets can have names that begin like a bot's.
        bots = [name.removeprefix(self._prefix) for name in names if name.startswith(self._prefix)]
        return sorted(filter(BOT_NAME.fullmatch, bots))

    def exists(self, bot: str) -> bool:
        """Tell whether there is a bot, by the name of its secret; the secret is not read."""
        try:
            found = self._secretsmanager.describe_secret(SecretId=self._prefix + bot)
        except self._secretsmanager.exceptions.ResourceNotFoundException:
            return False
        return "DeletedDate" not in found

    def secret(self, bot: str) -> str | None:
        """Return a bot's secret, or None if there is none. Raise BotRemoved."""
        errors = self._secretsmanager.exceptions
        secret = self._prefix + bot
        try:
            response = self._secretsmanager.get_secret_value(SecretId=secret)
        except errors.ResourceNotFoundException:
            return None
        except errors.InvalidRequestException:
            # Its name is taken until then, so it cannot be made again either.
            raise BotRemoved(
                f"bot {bot} was removed, and its secret is scheduled for deletion; restore it: "
                f"aws secretsmanager restore-secret --secret-id {secret}"
            ) from None
        text: str = response.get("SecretString", "")
        return text

    def create_secret(self, bot: str, secret: str, kms_key: str) -> None:
        """Make a bot. Without a `kms_key`, the stack's KmsKeyArn, AWS's own key encrypts its secret."""
        encrypted = {"KmsKeyId": kms_key} if kms_key else {}
        self._secretsmanager.create_secret(Name=self._prefix + bot, SecretString=secret, **encrypted)

    def replace_secret(self, bot: str, before: str, after: str) -> bool:
        """Replace a bot's secret as a whole. The relay uses it within a minute.

        Return False, and write nothing, if it is not `before` any more: a secret that was revoked meanwhile
        would return. Secrets Manager has no conditional write, so it is read right before.
        """
        if self.secret(bot) != before:
            return False
        self._secretsmanager.put_secret_value(SecretId=self._prefix + bot, SecretString=after)
        return True

    def delete_secret(self, bot: str) -> datetime:
        """Schedule a bot's secret for deletion; return when it is deleted. Until then it can be restored."""
        deleted_at: datetime = self._secretsmanager.delete_secret(SecretId=self._prefix + bot)["DeletionDate"]
        return deleted_at

    def state(self, bot: str) -> BotState:
        """Return the state of a bot's slots and of its circuit breaker."""
        return self._messages_table.bot_state(bot)

    def open_messages(self, bot: str) -> list[RecordKey]:
        """Return the keys of the bot's messages that LangBot has accepted and that wait for a reply."""
        return list(self._awaiting_index.open_messages_of_bot(bot))

    def is_sending(self, bot: str) -> bool:
        """Tell whether push may be making an attempt at a bot now."""
        return is_sending(self.state(bot), self._stack.now())

    def pause(self, bot: str) -> None:
        """Keep a bot's messages on the queue until `resume`. No attempt begins any more.

        Those under way end within the time of an attempt: `is_sending` says whether there are any. It takes
        SLOT_COUNT_TTL seconds, as `end_pause` does.
        """
        self._admission_control.pause(bot, self._stack.now())
        environment.sleep(SLOT_COUNT_TTL)

    def resume(self, bot: str) -> bool:
        """End the pause that `pause` began; return False, and change nothing, if there is none.

        Messages that push has received meanwhile are hidden on the queue for up to MAX_PAUSE seconds more. It
        takes SLOT_COUNT_TTL seconds, as `end_pause` does.
        """
        was_paused = self._admission_control.resume(bot, self._stack.now())
        environment.sleep(SLOT_COUNT_TTL)
        return was_paused

    def pause_for(self, bot: str, seconds: float) -> None:
        """Keep a bot's messages on the queue for so long, MAX_PAUSE seconds at most, or as `pause` says."""
        self._admission_control.pause_until(bot, self._stack.now() + seconds)

    def end_pause(self, bot: str) -> None:
        """End what `pause_for` began.

        It takes SLOT_COUNT_TTL seconds. Until then a function may act on what it has read before.
        """
        self.pause_for(bot, 0)
        environment.sleep(SLOT_COUNT_TTL)

    def retry(self, bot: str) -> None:
        """Let the next message probe a failing bot. It takes SLOT_COUNT_TTL seconds, as `end_pause` does."""
        self._admission_control.probe_next(bot, self._stack.now())
        environment.sleep(SLOT_COUNT_TTL)
