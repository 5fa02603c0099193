"""relay: send messages to bots, follow their replies, and find out what became of a message."""

import argparse
import signal
import sys
import warnings
from getpass import GetPassWarning
from typing import NoReturn

from relay.errors import (
    InvalidMessage,
    InvalidState,
    MessageNotFound,
    MessageParked,
    RelayError,
    ReplyTimeout,
)
from relay_cli.arguments import options_first
from relay_cli.commands import (
    awaiting_operator,
    bots,
    cancel,
    connect,
    console,
    doctor,
    erase,
    logs,
    mcp,
    send,
    show,
    tail,
)
from relay_cli.terminal import CommandFailed, Parser, complain, say, show_crash

EXIT_CODES = """\
exit codes:
  0  done
  1  the stack or LangBot could not be reached, or refused; or `relay doctor` found a fault
  2  the command or the message is not valid, or there is no such message
  3  the message is parked or dropped: it is not tried again unless it is resent
  4  no reply in time
  130  Ctrl-C, if the command was not to run until then
"""


def parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the command line's parser, and those of the commands."""
    top: argparse.ArgumentParser = Parser(
        prog="relay",
        description=__doc__,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action=ShowVersion, nargs=0, help="print the version and end")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (
        send,
        show,
        tail,
        awaiting_operator,
        cancel,
        erase,
        logs,
        console,
        mcp,
        bots,
        connect,
        doctor,
    ):
        module.add_commands(commands)
    completion = commands.add_parser("completion", help="print what makes a shell complete these commands")
    completion.add_argument(
        "shell", choices=["bash", "zsh", "tcsh"], help="as in `relay completion bash > FILE`"
    )
    return top, commands.choices


class ShowVersion(argparse.Action):
    """Prints the version of the package that is installed."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        """Print it, and end."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            say(f"relay {version('langbot-relay')}")
        except PackageNotFoundError:
            say("relay, not installed as a package")
        parser.exit()


def main() -> int:
    """Run one command; return its exit code."""
    sys.excepthook = show_crash
    # If its reader ends (`relay tail … | head`), relay ends without a message.
    if hasattr(signal, "SIGPIPE"):  # not on Windows
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    # A character that the output's encoding lacks must not end a command that has sent its message.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    # A profile can ask for an MFA code, for which there may be no terminal.
    warnings.simplefilter("error", GetPassWarning)
    top, commands = parser()
    options = top.parse_args(options_first(sys.argv[1:], commands))
    if options.command == "completion":
        import shtab

        say(shtab.complete(top, options.shell))
        return 0
    # These take longer to import than `relay --help` may last.
    from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

    from relay import Stack
    from relay.domain.diagnosis import with_stack

    try:
        stack = Stack.from_cloudformation(options.stack) if options.stack else Stack.from_file()
        code: int = options.run(stack, options) or 0
    except KeyboardInterrupt:
        return 0 if options.command in ("tail", "logs", "console", "mcp") else 130
    except CommandFailed as error:
        return fail(error.code, with_stack(str(error), options.stack))
    except InvalidMessage as error:
        return fail(2, f"not a valid message: {error}")
    except (InvalidState, MessageNotFound) as error:
        return fail(2, with_stack(str(error), options.stack))
    except MessageParked as error:
        return fail(3, f"parked: {error}")
    except ReplyTimeout as error:
        return fail(4, with_stack(str(error), options.stack))
    except GetPassWarning:
        return fail(1, "your AWS profile asks for an MFA code, and there is no terminal to type it on")
    except NoRegionError:
        return fail(1, "no AWS region is set: set AWS_REGION, or the region of your AWS profile")
    except (RelayError, ClientError, BotoCoreError) as error:
        return fail(1, str(error))
    return code


def fail(code: int, text: str) -> int:
    """Say in one line what is wrong; return the exit code."""
    complain(f"relay: {text}")
    return code


if __name__ == "__main__":
    sys.exit(main())
