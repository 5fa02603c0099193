"""The command console: serves the console on this machine until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import socket
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from relay_cli.terminal import CommandFailed, lacks_extra, say

if TYPE_CHECKING:
    import relay

DEFAULT_PORT = 4567


def add_commands(commands: Any) -> None:
    """Add the parser of the command."""
    console = commands.add_parser("console", help="show a stack on one page, live")
    console.add_argument("--stack", metavar="NAME", help="a deployed stack (default: the local one)")
    console.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="default: %(default)s; 0 takes a free one"
    )
    console.add_argument("--no-browser", action="store_true", help="print the link, and open no browser")
    console.set_defaults(run=run_console)


def run_console(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Serve the console of a stack on loopback. Raise CommandFailed."""
    try:
        import uvicorn

        from relay_console.app import Console
        from relay_console.guard import Guard
    except ImportError as error:
        raise lacks_extra("the console", "console", error) from None
    try:
        listener = socket.create_server(("127.0.0.1", options.port))
    except (OSError, OverflowError):
        raise CommandFailed(1, f"port {options.port} cannot be used; name another with --port") from None

    def announce(link: str) -> None:
        say(f"The link was used. For another browser: {link}")

    # A browser that has gone must not end the console; `relay` itself ends with the reader of its output.
    if hasattr(signal, "SIGPIPE"):  # not on Windows
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    name = f"stack {options.stack}" if options.stack else "local stack"
    guard = Guard(Console(stack).application(), listener.getsockname()[1], announce)
    config = uvicorn.Config(
        guard,
        lifespan="off",
        ws="none",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    say(f"The console of the {name}: {guard.link}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the page below is removed
    with ExitStack() as ends:
        if not options.no_browser:
            folder = ends.enter_context(TemporaryDirectory(prefix="relay-console-"))
            webbrowser.open(_page_that_leads_to(guard.link, Path(folder)).as_uri())
        uvicorn.Server(config).run(sockets=[listener])


def _page_that_leads_to(link: str, folder: Path) -> Path:
    """Return a page that only this user can read: every user can read a browser's command line."""
    page = folder / "open.html"
    page.touch(0o600)
    page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0; url={link}">\n')
    return page
