"""LangBot, which waits as long as a test needs, for its webhooks and its database.

Its own 15 and 5 seconds are in no setting.
"""

import sqlite3
from functools import partial
from types import SimpleNamespace
from typing import Any

from aiohttp import ClientTimeout
from langbot.__main__ import main
from langbot.pkg.platform import webhook_pusher


def no_timeout(**_: Any) -> ClientTimeout:
    return ClientTimeout(total=None)


webhook_pusher.aiohttp = SimpleNamespace(ClientTimeout=no_timeout)
# A bot that is saved under load can keep it locked for longer (docs/langbot.md).
sqlite3.connect = partial(sqlite3.connect, timeout=60)
main()
