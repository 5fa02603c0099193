"""LangBot's plugin runtime, kept on loopback: its own command line always binds 0.0.0.0."""

from typing import Any

import websockets
from langbot_plugin.cli import main

serve = websockets.serve


def serve_on_loopback(handler: Any, host: str, port: int, **settings: Any) -> Any:
    return serve(handler, "127.0.0.1", port, **settings)


websockets.serve = serve_on_loopback
main()
