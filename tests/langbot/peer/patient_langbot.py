"""LangBot, which waits for its webhooks as long as a test needs: its own 15 seconds are in no setting."""

from types import SimpleNamespace
from typing import Any

from aiohttp import ClientTimeout
from langbot.__main__ import main
from langbot.pkg.platform import webhook_pusher


def no_timeout(**_: Any) -> ClientTimeout:
    return ClientTimeout(total=None)


webhook_pusher.aiohttp = SimpleNamespace(ClientTimeout=no_timeout)
main()
