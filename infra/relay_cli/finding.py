"""What a check found."""

import argparse
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from relay.domain.diagnosis import with_stack
from relay_cli.terminal import one_line, say, say_json


@dataclass(frozen=True)
class Finding:
    """One line of a check. `ok` is None for what is no fault, or could not be checked."""

    check: str
    ok: bool | None
    text: str
    advice: str = ""


def ok(check: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(check, True, text)


def fault(check: str, text: str, advice: str = "") -> Finding:
    """Return what is wrong, and what to do about it."""
    return Finding(check, False, text, advice)


def note(check: str, text: str, advice: str = "") -> Finding:
    """Return what is no fault, or could not be checked."""
    return Finding(check, None, text, advice)


def show(findings: Iterable[Finding], options: argparse.Namespace) -> bool:
    """Print findings as they come; return whether none of them is a fault."""
    all_well = True
    for finding in findings:
        all_well = all_well and finding.ok is not False
        advice = with_stack(finding.advice, options.stack)
        if options.json:
            say_json(asdict(finding) | {"advice": advice})
            continue
        mark = {True: "ok  ", False: "FAIL", None: "note"}[finding.ok]
        say(f"{mark}  {finding.check:26} {one_line(finding.text)}")
        if advice:
            say(f"{'':32} -> {one_line(advice)}")
    return all_well
