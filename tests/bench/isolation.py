"""How long a message of a healthy bot takes beside each attacker of docs/security.md, on the local stack."""

import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from statistics import median
from uuid import uuid4

import requests

from relay.domain.signing import sign
from support.callbacks import part_body, post_part
from support.deployed import IN, OUT, Deployed, Talk, new_bot
from support.event_listener import EventListener, listen
from support.raw_messages import send_raw
from support.waiting import eventually

MESSAGES = 5
"""Messages of the healthy bot beside each attacker."""


def print_isolation(deployed: Deployed) -> None:
    """Measure the healthy bot alone, and then beside each attacker in turn."""
    with new_bot(deployed) as healthy, new_bot(deployed) as attacker, listen(healthy) as listener:
        seconds_each(healthy, listener)  # each function starts
        attacks: dict[str, Callable[[Talk], None]] = {
            "alone": lambda _: None,
            "a bot that drips its answer": drip,
            "a queue sender: a key of 250 KiB": long_key,
            "a queue sender: 1 MiB of small segments": many_segments,
            "a holder of an outbound secret: `overflow`": forged_path,
            "a bot: final parts of small values": small_values,
            "anybody: made-up names of bots": made_up_names,
        }
        for name, attack in attacks.items():
            attack(attacker)
            for until, took in seconds_each(healthy, listener).items():
                seconds = f"median {median(took):4.1f} s, longest {max(took):4.1f} s"
                print(f"healthy bot, {name:45}  {until:9} {seconds}", flush=True)


def seconds_each(talk: Talk, listener: EventListener) -> dict[str, list[float]]:
    """Return the times from a message to its stored reply, its settlement and its event, of each message."""
    took: dict[str, list[float]] = {"reply": [], "answered": [], "event": []}
    for _ in range(MESSAGES):
        session = f"s-{uuid4().hex[:8]}"
        began = time.monotonic()
        sent = talk.push("hello", session=session)
        talk.conversation(session).wait(sent, timeout=200)
        took["reply"].append(time.monotonic() - began)
        talk.deployed.state(sent, "answered")
        took["answered"].append(time.monotonic() - began)
        eventually(partial(has_event, listener, session), 200, "the event")
        took["event"].append(time.monotonic() - began)
    return took


def has_event(listener: EventListener, session: str) -> bool:
    """Tell whether a session's reply is among the events of its bot."""
    return any(event["detail"]["data"]["session_id"] == session for event in listener.all(0))


def drip(talk: Talk) -> None:
    """Let eight messages go to a bot that sends a byte of its answer every two seconds."""
    server = socket.create_server(("127.0.0.1", 0))

    def answer(connection: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection.sendall(b"H")
                time.sleep(2)

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}/bots/1"
    name = f"drip-{uuid4().hex[:8]}"
    talk.deployed.local.connect(url, IN, OUT, bot=name)
    for number in range(8):
        talk.push("hello", session=f"s-{number}", bot=name)


def long_key(talk: Talk) -> None:
    """Queue ten messages that are not valid and have a long key."""
    for _ in range(10):
        send_raw(talk, json.dumps({"k" * 250_000: 1}), group_id=uuid4().hex)


def many_segments(talk: Talk) -> None:
    """Queue two messages of as many segments as 1 MiB holds."""
    segments = [{"type": "x"}] * 60_000
    for number in range(2):
        body = json.dumps({"bot": talk.name, "session_id": f"s-{number}", "message": segments})
        send_raw(talk, body, group_id=f"s-{number}")


def forged_path(talk: Talk) -> None:
    """Post final parts whose fields name another bot's parts."""
    for number in range(20):
        post_part(talk, part_body(talk, sequence=number, overflow="parts/default/0.json", bot="default"))


def small_values(talk: Talk) -> None:
    """Post twelve final parts of one turn, each of nearly as many values as an item may have."""
    for number in range(12):
        segment = {"type": "x", "values": [{}] * 9_000}
        post_part(talk, part_body(talk, reply_to="in_x", sequence=number, is_final=True, message=[segment]))


def made_up_names(talk: Talk) -> None:
    """Post requests for bots that do not exist, as fast as four clients can, for a while."""

    def post() -> None:
        ends_at = time.monotonic() + 20
        while time.monotonic() < ends_at:
            now, name = str(int(time.time())), uuid4().hex
            headers = {"X-LB-Timestamp": now, "X-LB-Signature": sign("guess", now, b"{}")}
            with suppress(requests.RequestException):
                requests.post(talk.deployed.callback_url(name), data=b"{}", headers=headers, timeout=10)

    for _ in range(4):
        threading.Thread(target=post, daemon=True).start()
