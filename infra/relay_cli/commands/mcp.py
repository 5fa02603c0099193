"""The command mcp: serves a stack to agents, by the Model Context Protocol on standard input and output."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from relay_cli.terminal import lacks_extra

if TYPE_CHECKING:
    import relay


def add_commands(commands: Any) -> None:
    """Add the parser of the command."""
    mcp = commands.add_parser("mcp", help="let an agent look at a stack, by the Model Context Protocol")
    mcp.add_argument("--stack", metavar="NAME", help="a deployed stack (default: the local one)")
    mcp.add_argument("--allow-write", action="store_true", help="let the agent ask, resend and drop as well")
    mcp.set_defaults(run=run_mcp)


def run_mcp(stack: relay.Stack, options: argparse.Namespace) -> None:
    """Serve a stack until standard input ends. Raise CommandFailed."""
    try:
        from relay_cli.agent_tools import server
    except ImportError as error:
        raise lacks_extra("mcp", "mcp", error) from None
    server(stack, options.allow_write).run()
