import json
import threading
from argparse import Namespace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from relay_cli.langbot_api import LangBotApi, from_options
from relay_cli.terminal import CommandFailed

KEY = "lbk_hush"


class Answering(BaseHTTPRequestHandler):
    """Gives each request the next answer of the test, or its last one, and keeps what was asked."""

    answers = [(200, {}, b"")]  # noqa: RUF012 - a class for each server
    asked: list[tuple[str, str | None]] = []  # noqa: RUF012 - a class for each server

    def do_GET(self):
        self.asked.append((self.path, self.headers["X-API-Key"]))
        status, headers, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self):
        self.do_GET()

    def do_POST(self):
        self.do_GET()

    def log_message(self, *_):
        pass


@pytest.fixture
def langbot():
    """A server in place of LangBot, for the answers that the real one does not give when it is asked to."""
    handler = type("Handler", (Answering,), {"asked": []})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        handler.url = f"http://127.0.0.1:{server.server_port}"
        yield handler
        server.shutdown()
        thread.join()


def refusal(langbot, status, body=b"", **headers):
    langbot.answers = [(status, headers, body)]
    with pytest.raises(CommandFailed) as failed:
        LangBotApi(langbot.url, KEY).http_bots()
    assert failed.value.code == 1
    assert KEY not in str(failed.value)
    return str(failed.value)


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (401, b"", "does not know this API key"),
        (403, b"", "needs the scopes resource.view and resource.manage"),
        (200, b"<html>", "is not the API of LangBot: GET platform/bots was answered 200"),
        (200, b"[]", "is not the API of LangBot"),
        (404, b'{"error": "Bot not found"}', "is not the API of LangBot"),
        (400, b'{"code": -1, "msg": "invalid"}', "answered GET platform/bots with 400: invalid"),
    ],
)
def test_a_refusal_is_told_of_in_words(langbot, status, body, told):
    assert told in refusal(langbot, status, body)


def test_a_redirect_does_not_get_the_key(langbot):
    told = refusal(langbot, 302, Location="http://user:key@127.0.0.1:1/api/v1/platform/bots?token=x")
    assert told == "LangBot redirects: give --langbot http://127.0.0.1:1"
    assert langbot.asked == [("/api/v1/platform/bots", KEY)]


def test_an_error_of_langbot_that_quotes_a_secret_is_not_repeated(langbot):
    langbot.answers = [(500, {}, json.dumps({"code": -2, "msg": "[parameters: hush-hush]"}).encode())]
    with pytest.raises(CommandFailed, match="with 500: its log says why"):
        LangBotApi(langbot.url, KEY).save_bot("1", {"inbound_secret": "hush-hush"})


SAVED = (200, {}, b'{"code": 0, "data": {}}')
NOT_RELOADED = [
    (400, {}, b'{"code": "bot_apply_failed", "msg": "TimeoutError", "data": {"uuid": "1"}}'),
    (500, {}, b'{"code": "internal_error", "msg": "Internal server error"}'),
]


@pytest.mark.parametrize("not_reloaded", NOT_RELOADED)
def test_a_bot_that_langbot_does_not_reload_is_saved_again(langbot, not_reloaded):
    langbot.answers = [not_reloaded, SAVED]
    LangBotApi(langbot.url, KEY).save_bot("1", {})
    assert langbot.asked == [("/api/v1/platform/bots/1", KEY)] * 2


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (NOT_RELOADED[0], r"does not use it \(TimeoutError\): restart LangBot"),
        (NOT_RELOADED[1], "its log says why"),
    ],
)
def test_a_bot_that_langbot_never_reloads_is_told_of(langbot, answer, told):
    langbot.answers = [answer]
    with pytest.raises(CommandFailed, match=told):
        LangBotApi(langbot.url, KEY).save_bot("1", {})
    assert len(langbot.asked) == 2


def test_a_form_that_langbot_refuses_is_not_saved_again(langbot):
    langbot.answers = [(400, {}, b'{"code": "invalid_bot_config", "msg": "no url"}'), SAVED]
    with pytest.raises(CommandFailed, match="with 400: no url"):
        LangBotApi(langbot.url, KEY).save_bot("1", {})


def test_a_bot_without_its_configuration_needs_another_scope(langbot):
    assert "scope resource.manage" in refusal(
        langbot, 200, b'{"code": 0, "data": {"bots": [{"adapter": "http_bot", "uuid": "1"}]}}'
    )


def test_a_release_without_routes_answers_none(langbot):
    langbot.answers = [(404, {}, b"<html>")]
    assert LangBotApi(langbot.url, KEY).agent("1") == {}


def data(fields):
    return 200, {}, json.dumps({"code": 0, "data": fields}).encode()


BOT = {"uuid": "1", "name": "x", "adapter": "http_bot", "adapter_config": {}}


@pytest.mark.parametrize(
    "bot",
    [
        None,
        [],
        {},
        BOT | {"uuid": ""},
        BOT | {"uuid": 1},
        BOT | {"name": None},
        BOT | {"adapter_config": []},
        BOT | {"adapter_runtime_values": "x"},
        BOT | {"event_bindings": [1]},
        BOT | {"plugin_processors": {"a": 1}},
    ],
)
def test_a_bot_in_another_form_than_langbots_is_refused(langbot, bot):
    langbot.answers = [data({"bot": bot})]
    with pytest.raises(CommandFailed, match="in a form that this command does not know"):
        LangBotApi(langbot.url, KEY).bot("1")


@pytest.mark.parametrize(
    ("read", "answer"),
    [
        (LangBotApi.version, []),
        (LangBotApi.http_bots, None),
        (LangBotApi.http_bots, {"bots": {}}),
        (LangBotApi.http_bots, {"bots": ["x"]}),
        (lambda api: api.create_bot("x", {}), {}),
        (lambda api: api.create_bot("x", {}), {"uuid": 1}),
        (lambda api: api.route("1", {}), {"matched": True}),
        (lambda api: api.route("1", {}), {"matched": 1, "target_type": None, "target": "x"}),
        (lambda api: api.agent("1"), {"agent": []}),
        (lambda api: api.runs("1"), {"items": [1]}),
        (lambda api: api.log("1"), {"logs": ["x"]}),
    ],
)
def test_an_answer_in_another_form_than_langbots_is_refused(langbot, read, answer):
    langbot.answers = [data(answer)]
    with pytest.raises(CommandFailed, match="in a form that this command does not know"):
        read(LangBotApi(langbot.url, KEY))


def test_an_answer_that_is_nested_too_deeply_is_refused(langbot):
    assert "is not the API of LangBot" in refusal(langbot, 200, b"[" * 200_000)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("", "is not the API of LangBot: GET platform/bots was answered 30"),
        ("/login", "is not the API of LangBot: it redirects to {url}/login; look at what is in front"),
        ("https://sso.example/?next=x", "it redirects to https://sso.example/; look at what is in front"),
        ("/langbot/api/v1/platform/bots", "LangBot redirects: give --langbot {url}/langbot"),
        ("http://[", "cannot be reached"),
    ],
)
def test_a_redirect_is_told_with_what_to_give(langbot, status, location, told):
    assert told.format(url=langbot.url) in refusal(langbot, status, Location=location)


def test_a_release_with_line_breaks_is_shown_on_one_line(langbot):
    langbot.answers = [data({"version": "v4\nok    all is well"})]
    assert LangBotApi(langbot.url, KEY).version() == "v4 ok all is well"


def test_an_address_at_which_nothing_listens_is_told_of():
    with pytest.raises(CommandFailed, match="cannot be reached: ConnectionError; check --langbot"):
        LangBotApi("http://127.0.0.1:1", KEY).version()


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://langbot.example/", "https://langbot.example"),
        (" http://langbot.example:5300 ", "http://langbot.example:5300"),
        ("https://example.com/langbot/", "https://example.com/langbot"),
    ],
)
def test_the_address_is_taken_without_a_slash_at_its_end(url, base):
    assert from_options(Namespace(langbot=url, api_key=KEY)).url == base


@pytest.mark.parametrize("url", ["https://user:hush@langbot.example", "http://hush@langbot.example:5300"])
def test_an_address_with_a_user_or_a_password_is_refused_unquoted(url):
    with pytest.raises(CommandFailed, match="must be without a user and a password") as failed:
        from_options(Namespace(langbot=url, api_key=KEY))
    assert "hush" not in str(failed.value)


@pytest.mark.parametrize(
    ("url", "warns"),
    [
        ("http://langbot.example", True),
        ("http://10.0.0.7:5300", True),
        ("https://langbot.example", False),
        ("http://127.0.0.1:5300", False),
        ("http://[::1]:5300", False),
        ("http://localhost:5300", False),
    ],
)
def test_a_key_that_goes_out_in_plain_text_is_said_beforehand(capsys, url, warns):
    from_options(Namespace(langbot=url, api_key=KEY))
    assert (f"the API key goes to {url} in plain text" in capsys.readouterr().err) is warns


@pytest.mark.parametrize(
    "url", ["langbot.example", "ftp://langbot.example", "https://", "https://[", "http://["]
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(CommandFailed, match="--langbot must be an address"):
        from_options(Namespace(langbot=url, api_key=KEY))


@pytest.mark.parametrize("key", [None, "", "  ", "clé", "a\nb"])
def test_a_key_that_is_missing_or_no_key_is_refused(monkeypatch, key):
    monkeypatch.delenv("LANGBOT_API_KEY", raising=False)
    with pytest.raises(CommandFailed, match="is needed in LANGBOT_API_KEY") as failed:
        from_options(Namespace(langbot="https://langbot.example", api_key=key))
    assert failed.value.code == 2
