"""Peer: a Flask receiver in the manner of LangBot's reference client, with the same write.

It is called as a WSGI server calls it. The cost of the server is left out, as API Gateway's is for callback.
"""

import hashlib
import hmac
import io
import os
import time
from typing import Any

import boto3
from flask import Flask, Response, jsonify, request

from bench.lambda_events import part, signed

app = Flask(__name__)
replies: Any = boto3.resource("dynamodb").Table(os.environ["REPLIES_TABLE"])


def receive(bot: str) -> Response | tuple[Response, int]:
    """Verify a part and store it."""
    raw, timestamp = request.get_data(), request.headers.get("X-LB-Timestamp", "")
    secret = os.environ["BENCH_OUTBOUND"].encode()
    expected = "sha256=" + hmac.new(secret, timestamp.encode() + b"." + raw, hashlib.sha256).hexdigest()
    if abs(time.time() - int(timestamp)) > 300 or not hmac.compare_digest(
        expected, request.headers.get("X-LB-Signature", "")
    ):
        return jsonify({"message": "not authentic"}), 401
    body: dict[str, Any] = request.get_json()
    keys = {
        "session": f"{bot}#{body['session_id']}",
        "part": f"{body['timestamp']}#{body['sequence']:06}#{hashlib.sha256(raw).hexdigest()[:12]}",
    }
    text = "".join(segment["text"] for segment in body["message"])
    replies.put_item(
        Item=body | keys | {"bot": bot, "text": text, "received_at": f"{time.time()}"},
        ConditionExpression="attribute_not_exists(#session)",
        ExpressionAttributeNames={"#session": "session"},
    )
    return jsonify({"message": "kept"})


app.add_url_rule("/callbacks/<bot>", view_func=receive, methods=["POST"])


class Subject:
    """See bench.subject."""

    def prepare(self, count: int) -> list[Any]:
        """Return the environments of requests."""
        return [_environ(part()) for _ in range(count)]

    def run(self, given: Any) -> None:
        """Receive a part."""
        statuses: list[str] = []
        b"".join(app(given, lambda status, headers: statuses.append(status)))
        if statuses != ["200 OK"]:
            raise RuntimeError("a part was not stored")

    def clean(self) -> None:
        """Leave the parts."""


def _environ(raw: bytes) -> dict[str, Any]:
    headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in signed(raw).items()}
    return headers | {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": f"/callbacks/{os.environ['BENCH_BOT']}",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(raw)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(raw),
        "wsgi.errors": io.StringIO(),
    }
