"""Who reaches the console, and what a page of it can do."""

import http.client
from urllib.parse import urlsplit

import pytest
import requests

from support.console_server import serve_console


@pytest.fixture(scope="module")
def console(deployed):
    with serve_console(deployed.stack) as running:
        yield running


@pytest.fixture
def browser(console):
    return console.browser()


def get(url, **headers):
    with requests.Session() as http_client:
        http_client.trust_env = False
        return http_client.get(url, headers=headers, timeout=10)


def test_a_link_opens_one_browser_and_the_next_link_is_announced(console):
    link = console.guard.link
    opened, again = console.open(link), console.open(link)
    assert (opened.status_code, again.status_code) == (200, 401)
    assert console.announced[-1] == console.guard.link != link
    assert console.open(console.guard.link).status_code == 200


def test_no_response_sets_a_cookie_which_every_port_of_the_host_would_get(console, browser):
    for response in (get(console.guard.link), console.open(console.guard.link)):
        assert response.status_code == 200
        assert "Set-Cookie" not in response.headers
    assert "Set-Cookie" not in browser.get(f"{console.url}/api/stack", timeout=10).headers


@pytest.mark.parametrize("path", ["/", "/?token=", "/static/main.js"])
def test_the_page_itself_needs_no_secret(console, path):
    assert get(console.url + path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/api/changes", "/api/stack", "/api/message", "//api/stack", "/nowhere", "/api/open"]
)
@pytest.mark.parametrize("header", [None, "Bearer ", "Bearer guess", "{secret}", "Bearer {token}é"])
def test_nothing_else_is_served_without_the_secret(console, browser, path, header):
    secret, token = browser.headers["Authorization"][7:], console.guard.link.partition("token=")[2]
    headers = {"Authorization": header.format(secret=secret, token=token)} if header else {}
    assert get(console.url + path, **headers).status_code == 401


def test_the_token_of_a_link_opens_nothing_but_the_console(console):
    token = console.guard.link.partition("token=")[2]
    assert get(f"{console.url}/api/stack", Authorization=f"Bearer {token}").status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "localhost:{port}", "127.0.0.1", "127.0.0.1:1", ""])
def test_another_host_name_is_refused_even_with_the_secret(console, browser, host):
    host = host.format(port=console.port)
    secret = browser.headers["Authorization"]
    assert get(f"{console.url}/api/stack", Host=host, Authorization=secret).status_code == 421
    assert get(console.url, Host=host).status_code == 421


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "", None])
def test_a_change_from_another_page_is_refused(console, browser, origin):
    response = browser.post(f"{console.url}/api/send", json={}, headers={"Origin": origin}, timeout=10)
    assert response.status_code == 403


def test_a_read_from_another_page_is_refused(console, browser):
    headers = {"Origin": "http://evil.example"}
    assert browser.get(f"{console.url}/api/stack", headers=headers, timeout=10).status_code == 403


def test_a_body_that_does_not_say_its_length_or_is_too_long_is_refused(console, browser):
    def post(data):
        headers = {"Content-Type": "application/json"}
        return browser.post(f"{console.url}/api/send", data=data, headers=headers, timeout=10).status_code

    assert post(iter([b"{}"])) == 413
    connection = http.client.HTTPConnection(urlsplit(console.url).netloc, timeout=10)
    connection.putrequest("POST", "/api/send")
    headers = {name: browser.headers[name] for name in ("Origin", "Authorization")}
    for name, value in (headers | {"Content-Length": str(3 << 20)}).items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b'{"bot": 1}', b"[" * 200_000])
def test_a_change_that_is_no_json_object_of_texts_is_refused(console, browser, body):
    assert browser.post(f"{console.url}/api/send", data=body, timeout=10).status_code == 400


def test_a_session_is_not_erased_unless_its_id_is_given_twice(console, browser):
    fields = {"session": "default#ticket-1", "typed": "ticket-2"}
    response = browser.post(f"{console.url}/api/erase", json=fields, timeout=10)
    assert (response.status_code, response.text) == (400, "what is typed is not the session's id")


@pytest.mark.parametrize("path", ["/api/send", "/api/resend", "/api/drop", "/api/erase", "/api/earlier"])
def test_a_change_cannot_be_made_by_a_get(console, browser, path):
    assert browser.get(console.url + path, timeout=10).status_code == 405


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(console, browser, method):
    assert browser.request(method, console.url, timeout=10).status_code == 405


@pytest.mark.parametrize("path", ["/static/../guard.py", "/static/%2e%2e/guard.py", "/static/..%2fguard.py"])
def test_only_the_static_files_are_served(console, path):
    connection = http.client.HTTPConnection(urlsplit(console.url).netloc, timeout=10)
    connection.request("GET", path)
    assert connection.getresponse().status == 404
    connection.close()


def test_every_response_forbids_scripts_that_are_not_the_consoles(console, browser):
    for response in (browser.get(console.url, timeout=10), get(console.url), get(f"{console.url}/nowhere")):
        policy = response.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "require-trusted-types-for 'script'"} <= set(
            policy
        )
        assert not [rule for rule in policy if "unsafe" in rule or "http" in rule]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert "Server" not in response.headers or "uvicorn" not in response.headers["Server"]


def test_the_page_loads_nothing_from_elsewhere_and_has_no_inline_script(console, browser):
    page = browser.get(console.url, timeout=10).text
    assert "http" not in page
    assert page.count("<script") == page.count('<script type="module" src="/static/main.js"></script>') == 1
    assert "style=" not in page
    assert "<style" not in page
