"""What the client library raises.

RelayError
 ├─ StackNotFound
 ├─ BotRemoved
 ├─ InvalidMessage (also a ValueError)
 ├─ InvalidState
 ├─ MessageNotFound
 ├─ MessageParked
 └─ ReplyTimeout (also a TimeoutError)

Errors of AWS itself come as botocore raises them.
"""


class RelayError(Exception):
    """The base of all errors below."""


class StackNotFound(RelayError):
    """There is no such stack, or it is not a LangBot Relay."""


class BotRemoved(RelayError):
    """The bot's secret is scheduled for deletion; the text says how it is restored."""


class InvalidMessage(RelayError, ValueError):
    """No bot can be sent this; the text names the field and the fault, never a value."""


class InvalidState(RelayError):
    """The message is in no state in which it can be resent, dropped or cancelled."""


class MessageNotFound(RelayError):
    """The session has no record of such a message; the text says what that can mean."""


class MessageParked(RelayError):
    """The message will not be tried again unless an operator resends it; the text is the reason."""


class ReplyTimeout(RelayError, TimeoutError):
    """No reply was complete in time; the text gives the message's state."""
