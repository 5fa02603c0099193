"""LangBot's plugin runtime, kept on loopback: its own command line always binds 0.0.0.0."""

from typing import Any

from langbot_plugin.cli import main
from langbot_plugin.runtime.io.controllers.ws.server import WebSocketServerController

bind = WebSocketServerController.__init__


def bind_loopback(self: Any, port: int, *args: Any, **kwargs: Any) -> None:
    bind(self, port, *args, **kwargs | {"host": "127.0.0.1"})


WebSocketServerController.__init__ = bind_loopback
main()
