"""Posts over real sockets to a peer that is told, byte for byte, how to misbehave."""

import socket
import ssl
import threading
import time
from contextlib import contextmanager

import pytest
import trustme

from relay.edge import langbot
from relay.edge.langbot import LangBot, NoAnswer, NotSent
from relay.rules.bot import Bot
from relay.rules.signing import is_signed

OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"
UNSIGNED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"


class Peer:
    """Answers each request with the next of `answers`: bytes, or a function of the connection."""

    def __init__(self, answers, context=None):
        self.answers, self.context = list(answers), context
        self.requests, self.connections = [], 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.listener.getsockname()[1]}/bots/1"
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(1)
            with connection:
                try:
                    if self.context:
                        connection = self.context.wrap_socket(connection, server_side=True)
                    while self.answers and self.take(connection):
                        answer = self.answers.pop(0)
                        if callable(answer):
                            answer(connection)
                            break
                        connection.sendall(answer)
                except OSError:
                    pass

    def take(self, connection):
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = connection.recv(65536)
            if not chunk:
                return False
            head += chunk
            if head.startswith(b"\x16"):  # a TLS greeting, which is answered in plain text
                return True
        head, _, body = head.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        while len(body) < int(headers.get("content-length", 0)):
            body += connection.recv(65536)
        self.requests.append((lines[0], headers, body))
        return True


@contextmanager
def peer(*answers, context=None):
    server = Peer(answers, context)
    server.thread.start()
    try:
        yield server
    finally:
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        server.thread.join(timeout=5)
        assert not server.thread.is_alive()


@pytest.fixture
def post(monkeypatch):
    monkeypatch.setattr(langbot, "CONNECT_TIMEOUT", 0.3)
    monkeypatch.setattr(langbot, "READ_TIMEOUT", {"push": 0.3, "sync": 0.3, "reset": 0.3})
    sender = LangBot()

    def post(url, secrets=("in",), action="push", body=b'{"a": 1}'):
        return sender.post(Bot("b", url, secrets, ("out",)), action, body, "key-1")

    yield post
    sender._http.close()


def test_a_post_is_signed_and_carries_its_idempotency_key(post):
    with peer(OK) as bot:
        assert post(bot.url).status == 202
    ((line, headers, body),) = bot.requests
    assert line == "POST /bots/1 HTTP/1.1"
    assert body == b'{"a": 1}'
    assert is_signed(("in",), headers["x-lb-timestamp"], headers["x-lb-signature"], body)
    assert abs(int(headers["x-lb-timestamp"]) - time.time()) < 5
    assert headers["x-lb-idempotency-key"] == "key-1"
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(("action", "path"), [("sync", "/bots/1/sync"), ("reset", "/bots/1/reset")])
def test_an_action_has_its_own_path(post, action, path):
    with peer(OK) as bot:
        post(bot.url, action=action)
    assert bot.requests[0][0] == f"POST {path} HTTP/1.1"


def test_connections_stay_open_from_one_message_to_the_next(post):
    with peer(OK, OK, OK) as bot:
        for _ in range(3):
            post(bot.url)
        assert bot.connections == 1


def test_on_401_the_next_secret_is_tried_once(post):
    with peer(UNSIGNED, UNSIGNED, OK) as bot:
        assert post(bot.url, secrets=("new", "old", "older")).status == 401
        bot.answers.clear()
    first, second = bot.requests
    assert is_signed(("new",), first[1]["x-lb-timestamp"], first[1]["x-lb-signature"], first[2])
    assert is_signed(("old",), second[1]["x-lb-timestamp"], second[1]["x-lb-signature"], second[2])


def test_on_401_a_bot_with_one_secret_is_asked_once(post):
    with peer(UNSIGNED) as bot:
        assert post(bot.url).status == 401
    assert len(bot.requests) == 1


def test_a_redirect_is_not_followed(post):
    redirect = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    with peer(redirect) as bot:
        assert post(bot.url).status == 302
    assert len(bot.requests) == 1


def test_an_answer_is_read_up_to_64_kb(post):
    with peer(b"HTTP/1.1 202 Accepted\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 200_000) as bot:
        assert len(post(bot.url).body) == 65_536


def test_retry_after_is_passed_on(post):
    with peer(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n") as bot:
        assert post(bot.url).retry_after == "7"


def test_a_refused_connection_means_that_nothing_was_sent(post):
    with peer() as bot:
        pass
    with pytest.raises(NotSent, match="refused"):
        post(bot.url)


def test_a_host_that_there_is_not_means_that_nothing_was_sent(post):
    with pytest.raises(NotSent, match="resolve"):
        post("http://no-such-host.invalid/bots/1")


def test_a_connection_that_is_not_made_in_time_means_that_nothing_was_sent(post):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        with pytest.raises(NotSent, match="no connection within"):
            post(f"http://127.0.0.1:{full.getsockname()[1]}/bots/1")
        for one in waiting:
            one.close()


def test_a_certificate_that_nobody_vouches_for_means_that_nothing_was_sent(post):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with peer(OK, context=context) as bot, pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
        post(bot.url)
    assert bot.requests == []


def test_tls_that_breaks_otherwise_proves_nothing(post):
    with peer(OK) as bot, pytest.raises(NoAnswer, match="TLS"):
        post(bot.url.replace("http:", "https:"))


def test_no_answer_in_time_leaves_open_what_became_of_the_message(post):
    with peer(lambda connection: time.sleep(0.6)) as bot, pytest.raises(NoAnswer, match="no answer within"):
        post(bot.url)
    assert len(bot.requests) == 1


def test_a_connection_that_breaks_after_the_request_leaves_it_open(post):
    with peer(lambda connection: connection.close()) as bot, pytest.raises(NoAnswer, match="broke"):
        post(bot.url)


def test_an_answer_that_breaks_off_leaves_it_open(post):
    def half(connection):
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nhalf")

    with peer(half) as bot, pytest.raises(NoAnswer):
        post(bot.url)


def test_an_answer_that_trickles_is_given_up(post):
    def trickle(connection):
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n")
        for _ in range(20):
            connection.sendall(b"x" * 5)
            time.sleep(0.1)

    started = time.monotonic()
    with peer(trickle) as bot, pytest.raises(NoAnswer):
        post(bot.url)
    assert time.monotonic() - started < 3


def test_what_is_no_http_leaves_it_open(post):
    with peer(b"SSH-2.0-OpenSSH_9.2\r\n") as bot, pytest.raises(NoAnswer):
        post(bot.url)
