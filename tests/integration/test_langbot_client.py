"""Posts over real sockets to a server that misbehaves as each test wants, byte for byte."""

import socket
import ssl
import threading
import time
from contextlib import suppress
from queue import SimpleQueue

import pytest
import requests
import trustme

from relay.adapters import bounded_http, langbot
from relay.adapters.bounded_http import HttpSession, within
from relay.adapters.langbot import ConnectFailed, LangBotClient, NoResponse
from relay.domain.bot import Bot
from relay.domain.signing import secret_used
from support.raw_server import serving

OK = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}"
UNSIGNED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}"


@pytest.fixture
def short_timeouts(monkeypatch):
    monkeypatch.setattr(langbot, "CONNECT_TIMEOUT", 0.3)
    monkeypatch.setattr(langbot, "ATTEMPT_TIMEOUT", {"push": 2, "sync": 2, "reset": 2})


def bot_at(url, secrets=("in",)):
    return Bot("b", url, secrets, ("out",))


@pytest.fixture
def post():
    client = LangBotClient()

    def post(url, secrets=("in",), action="push", body=b'{"a": 1}'):
        return client.post(bot_at(url, secrets), action, body, "key-1")

    return post


def test_a_post_is_signed_and_carries_its_idempotency_key(post):
    with serving(OK) as bot:
        assert post(bot.url).status == 202
    ((line, headers, body),) = bot.requests
    assert line == "POST /bots/1 HTTP/1.1"
    assert body == b'{"a": 1}'
    assert secret_used(("in",), headers["x-lb-timestamp"], headers["x-lb-signature"], body) == 0
    assert abs(int(headers["x-lb-timestamp"]) - time.time()) < 5
    assert headers["x-lb-idempotency-key"] == "key-1"
    assert headers["content-type"] == "application/json"


@pytest.mark.parametrize(("action", "path"), [("sync", "/bots/1/sync"), ("reset", "/bots/1/reset")])
def test_an_action_has_its_own_path(post, action, path):
    with serving(OK) as bot:
        post(bot.url, action=action)
    assert bot.requests[0][0] == f"POST {path} HTTP/1.1"


def test_connections_stay_open_from_one_message_to_the_next(post):
    with serving(OK, OK, OK) as bot:
        for _ in range(3):
            post(bot.url)
        assert bot.connections == 1


def test_after_401_the_next_secret_is_tried_once(post):
    with serving(UNSIGNED, UNSIGNED, OK) as bot:
        assert post(bot.url, secrets=("new", "old", "older")).status == 401
        bot.responses.clear()
    first, second = bot.requests
    assert secret_used(("new",), first[1]["x-lb-timestamp"], first[1]["x-lb-signature"], first[2]) == 0
    assert secret_used(("old",), second[1]["x-lb-timestamp"], second[1]["x-lb-signature"], second[2]) == 0


def test_after_401_a_bot_with_one_secret_is_not_tried_again(post):
    with serving(UNSIGNED) as bot:
        assert post(bot.url).status == 401
    assert len(bot.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(post, status):
    redirect = b"HTTP/1.1 %d Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n" % status
    with serving(redirect) as bot:
        assert post(bot.url).status == status
    assert len(bot.requests) == 1


def test_a_redirect_is_read_up_to_64_kb(post):
    head = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 99999999\r\n\r\n"
    with serving(head + b"x" * 200_000) as bot:
        assert len(post(bot.url).body) == 65_536


@pytest.mark.parametrize("location", [b"/\xff", b"http://[", b"//"])
def test_a_redirect_to_what_is_no_url_is_a_response(post, location):
    with serving(b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location) as bot:
        assert post(bot.url).status == 302


SPELLINGS = ["localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::ffff:127.0.0.1]"]


@pytest.mark.parametrize("host", ["127.0.0.1", *SPELLINGS])
@pytest.mark.parametrize("tls", [False, True])
def test_nothing_is_sent_to_a_metadata_address_however_it_is_written(post, monkeypatch, host, tls):
    # No test can have such an address, so it takes the address that it has for one.
    monkeypatch.setattr(bounded_http, "is_metadata", lambda address: address.endswith("127.0.0.1"))
    with serving(OK) as bot:
        url = bot.url.replace("127.0.0.1", host).replace("http:", "https:" if tls else "http:")
        with pytest.raises(
            ConnectFailed, match=r"^the url leads to \S*127.0.0.1, a metadata or link-local address$"
        ):
            post(url)
    assert bot.requests == []


@pytest.mark.parametrize("host", SPELLINGS)
def test_other_addresses_can_be_written_in_each_way(post, host):
    with serving(OK) as bot:
        assert post(bot.url.replace("127.0.0.1", host)).status == 202


def test_http_to_a_public_address_is_logged_once(post, monkeypatch, caplog):
    with serving(OK, OK) as bot:
        post(bot.url)
        assert caplog.records == []
    monkeypatch.setattr(bounded_http, "is_public", lambda _: True)
    for _ in range(2):
        with serving(OK) as bot:
            post(bot.url)
    (line,) = caplog.records
    assert (line.levelname, line.host) == ("WARNING", "127.0.0.1")
    assert "over http to a public address" in line.message


def test_a_response_is_read_up_to_64_kb(post):
    with serving(b"HTTP/1.1 202 Accepted\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 200_000) as bot:
        assert len(post(bot.url).body) == 65_536


def test_retry_after_is_returned_with_the_response(post):
    with serving(b"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n") as bot:
        assert post(bot.url).retry_after == "7"


def test_a_refused_connection_means_that_nothing_was_sent(post):
    with serving() as bot:
        pass
    with pytest.raises(ConnectFailed, match=r"^Failed to establish .* refused"):
        post(bot.url)


def test_a_host_that_does_not_exist_means_that_nothing_was_sent(post):
    with pytest.raises(ConnectFailed, match=r"^Failed to resolve"):
        post("http://no-such-host.invalid/bots/1")


@pytest.mark.usefixtures("short_timeouts")
def test_a_connection_that_is_not_made_in_time_means_that_nothing_was_sent(post):
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        with pytest.raises(ConnectFailed, match="no connection within"):
            post(f"http://127.0.0.1:{full.getsockname()[1]}/bots/1")
        for one in waiting:
            one.close()


def test_a_certificate_that_is_not_trusted_means_that_nothing_was_sent(post):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with serving(OK, context=context) as bot, pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED"):
        post(bot.url)
    assert bot.requests == []


def test_the_environment_names_the_authorities_to_trust(monkeypatch, tmp_path):
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with serving(OK, context=context) as bot:
        assert LangBotClient().post(bot_at(bot.url), "push", b"{}", "key-1").status == 202


def test_the_environment_names_a_proxy_and_the_hosts_without_one(post, monkeypatch):
    with serving(OK) as proxy, serving(OK) as bot:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "10.0.0.0/8,127.0.0.1")
        assert [post(url).status for url in ("http://bot.example/bots/1", bot.url)] == [202, 202]
    assert proxy.requests[0][0] == "POST http://bot.example/bots/1 HTTP/1.1"
    assert bot.requests[0][0] == "POST /bots/1 HTTP/1.1"


def test_a_lookup_that_hangs_ends_at_the_deadline_and_sends_nothing_later(monkeypatch):
    lookup, goes_on, outcomes = socket.getaddrinfo, threading.Event(), SimpleQueue()

    def slow_lookup(*arguments, **named):
        goes_on.wait(30)
        return lookup(*arguments, **named)

    def call():
        try:
            outcomes.put(HttpSession().post(bot.url, data=b"{}"))
        except Exception as error:
            outcomes.put(error)

    monkeypatch.setattr(socket, "getaddrinfo", slow_lookup)
    with serving(OK) as bot:
        with pytest.raises(TimeoutError):
            within(0.2, call)
        goes_on.set()
        assert isinstance(outcomes.get(timeout=30), requests.exceptions.ConnectionError)
    assert bot.requests == []


def test_tls_that_breaks_otherwise_leaves_the_outcome_unknown(post):
    with serving(OK) as bot, pytest.raises(NoResponse, match="TLS"):
        post(bot.url.replace("http:", "https:"))


@pytest.mark.usefixtures("short_timeouts")
def test_no_response_in_time_leaves_the_outcome_unknown(post):
    def wait_for_client(connection):
        connection.recv(1)

    with serving(wait_for_client) as bot, pytest.raises(NoResponse, match="no response within"):
        post(bot.url)
    assert len(bot.requests) == 1


def test_a_connection_that_breaks_after_the_request_leaves_it_unknown(post):
    with serving(lambda connection: connection.close()) as bot, pytest.raises(NoResponse, match="broke"):
        post(bot.url)


def test_a_response_that_breaks_off_leaves_the_outcome_unknown(post):
    def half(connection):
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\nhalf")

    with serving(half) as bot, pytest.raises(NoResponse):
        post(bot.url)


def test_a_response_that_trickles_past_its_time_is_given_up(post, monkeypatch):
    def trickle(connection):
        connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 200\r\n\r\n")
        for _ in range(40):
            connection.sendall(b"x" * 5)
            time.sleep(0.05)

    monkeypatch.setattr(langbot, "ATTEMPT_TIMEOUT", {"push": 1})
    started = time.monotonic()
    with serving(trickle) as bot, pytest.raises(NoResponse):
        post(bot.url)
    assert time.monotonic() - started < 30


def test_a_response_that_is_no_http_leaves_the_outcome_unknown(post):
    with serving(b"SSH-2.0-OpenSSH_9.2\r\n") as bot, pytest.raises(NoResponse):
        post(bot.url)


@pytest.mark.parametrize(
    "beginning",
    [b"HTTP/1.1 202 Accepted\r\nX-Slow: ", b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n"],
    ids=["headers", "body"],
)
def test_a_response_that_drips_for_ever_ends_at_the_deadline(post, monkeypatch, beginning):
    def drip(connection):
        connection.sendall(beginning)
        while True:
            connection.sendall(b"x")
            time.sleep(0.1)

    monkeypatch.setattr(langbot, "ATTEMPT_TIMEOUT", {"push": 1})
    with serving(drip) as bot, pytest.raises(NoResponse, match="no response within 1 s"):
        post(bot.url)


@pytest.mark.parametrize(
    "beginning",
    [b"HTTP/1.1 202 A\r\n\r\n", b"HTTP/1.1 202 A\r\nConnection: close\r\nContent-Length: 99999\r\n\r\n"],
    ids=["no length", "close"],
)
def test_a_response_up_to_the_end_of_its_connection_is_shut_down(post, monkeypatch, beginning):
    shut_down = threading.Event()

    def drip(connection):
        connection.sendall(beginning)
        try:
            while True:
                connection.sendall(b"x")
                time.sleep(0.1)
        except OSError:
            shut_down.set()

    monkeypatch.setattr(langbot, "ATTEMPT_TIMEOUT", {"push": 1})
    with serving(drip) as bot:
        with pytest.raises(NoResponse, match="no response within 1 s"):
            post(bot.url)
        assert shut_down.wait(30)


def test_informational_responses_are_not_the_response(post):
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"
    with serving(hints + OK, OK) as bot:
        assert [post(bot.url).status for _ in range(2)] == [202, 202]


def test_no_cookie_goes_back_or_to_another_bot(post):
    cookies = b"HTTP/1.1 202 A\r\nSet-Cookie: a=1; Path=/\r\nContent-Length: 2\r\n\r\n{}"
    with serving(cookies, cookies, OK) as bot:
        for path in ("", "", "/other"):
            post(bot.url + path)
        assert ["cookie" in headers for _, headers, _ in bot.requests] == [False] * 3


def test_no_credentials_in_a_url_go_to_another_bot(post):
    with serving(OK, OK) as bot:
        post(bot.url.replace("http://", "http://user:pass@"))
        post(bot.url + "/other")
    (_, first, _), (_, second, _) = bot.requests
    assert first["authorization"] == "Basic dXNlcjpwYXNz"
    # What is left is the same for all bots, or made for this one request.
    assert set(second) == set(first) - {"authorization"}


SMUGGLED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    "first",
    [
        OK + SMUGGLED,
        b"HTTP/1.1 204 No Content\r\nContent-Length: 41\r\n\r\n" + SMUGGLED,
        b"HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + SMUGGLED,
        b"HTTP/1.1 202 A\r\nContent-Length: 99999\r\n\r\n" + b"x" * 65_536 + SMUGGLED * 841,
    ],
    ids=["after the body", "for no body", "after the chunks", "in a body that is cut"],
)
def test_what_a_bot_sends_after_its_response_is_not_the_next_bots(post, first):
    with serving(first, UNSIGNED) as bot:
        post(bot.url)
        assert post(bot.url + "/other").status == 401


def test_a_response_after_the_deadline_is_not_the_next_bots(post, monkeypatch):
    late, sent = threading.Event(), threading.Event()

    def answer_late(connection):
        late.wait(30)
        with suppress(OSError):  # it is shut down
            connection.sendall(OK)
        sent.set()

    monkeypatch.setattr(langbot, "ATTEMPT_TIMEOUT", {"push": 1})
    with serving(answer_late, UNSIGNED) as bot:
        with pytest.raises(NoResponse):
            post(bot.url)
        late.set()
        sent.wait(30)
        assert post(bot.url + "/other").status == 401


@pytest.mark.parametrize(("action", "path"), [("push", "/bots/1"), ("sync", "/bots/1/sync")])
def test_a_query_in_the_url_stays_behind_the_path(post, action, path):
    with serving(OK) as bot:
        post(bot.url + "?token=abc", action=action)
    assert bot.requests[0][0] == f"POST {path}?token=abc HTTP/1.1"
