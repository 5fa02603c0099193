"""A message as a line for bash, which signs and posts it."""

import shlex

from relay.domain.bot import Bot
from relay.domain.message import PATHS, parse_message, request_for
from relay.errors import InvalidMessage
from relay_cli.terminal import shell_quote

_HMAC = (
    "import hashlib, hmac, os, sys; "
    'secret = os.environ["BOT_INBOUND_SECRET"].encode(); '
    "print(hmac.new(secret, sys.stdin.buffer.read(), hashlib.sha256).hexdigest())"
)


def curl_command(body: str) -> str | None:
    """Return a line for bash that signs a message and posts it to the bot, or None if it is not valid.

    The bot's URL and secret come from variables of the shell. Settings in the bot's secret, such as
    `session_type`, are not applied.
    """
    try:
        message = parse_message(body)
        request = request_for(message, Bot(message.bot))
    except InvalidMessage:
        return None
    return " && ".join(
        [
            ': "${BOT_URL:?must be the url of the bot}" "${BOT_INBOUND_SECRET:?must be its inbound secret}"',
            f"body={shell_quote(request.body.decode())}",
            "at=$(date +%s)",
            f'signature=$(printf "%s.%s" "$at" "$body" | '
            f'BOT_INBOUND_SECRET="$BOT_INBOUND_SECRET" python3 -c {shlex.quote(_HMAC)})',
            f'curl -sS "$BOT_URL{PATHS[message.action]}" -H "Content-Type: application/json" '
            '-H "X-LB-Timestamp: $at" -H "X-LB-Signature: sha256=$signature" '
            '-H "X-LB-Idempotency-Key: curl-$at-$RANDOM" --data-raw "$body"',
        ]
    )
