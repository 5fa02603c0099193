"""Callbacks as LangBot posts them."""

import json
import time
from collections.abc import Mapping
from typing import Any

import requests

from relay.domain.signing import sign
from support.deployed import OUT, Deployed, Talk


def part_body(talk: Talk, **fields: Any) -> bytes:
    """Make the body of a final part of the talk's session."""
    part = {
        "session_id": talk.session,
        "reply_to": "in_1",
        "sequence": 1,
        "is_final": True,
        "stream": True,
        "message": [{"type": "Plain", "text": "hi"}],
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000001", time.gmtime()),
    }
    return json.dumps(part | fields, ensure_ascii=False).encode()


def signed_headers(raw: bytes, secret: str = OUT, timestamp: str | None = None) -> dict[str, str]:
    """Make the headers of a callback, signed now or at another time."""
    timestamp = timestamp or str(int(time.time()))
    return {"X-LB-Timestamp": timestamp, "X-LB-Signature": sign(secret, timestamp, raw)}


def lower_case(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers as API Gateway hands them to callback."""
    return {name.lower(): value for name, value in headers.items()}


def post_part(
    talk: Talk,
    raw: bytes,
    headers: Mapping[str, Any] | None = None,
    bot: str | None = None,
    content_type: str = "application/json",
    session: requests.Session | None = None,
) -> requests.Response:
    """Post a callback to the deployed stack, signed if no headers are given."""
    return (session or requests).post(
        talk.deployed.callback_url(bot or talk.name),
        data=raw,
        headers={"Content-Type": content_type, **(signed_headers(raw) if headers is None else headers)},
        timeout=30,
    )


def reply(talk: Talk, reply_to: str, final: bool = True, text: str = "hi", **fields: Any) -> None:
    """Post a part as LangBot posts it now."""
    message = [{"type": "Plain", "text": text}]
    raw = part_body(talk, reply_to=reply_to, is_final=final, message=message, **fields)
    assert post_part(talk, raw).status_code == 200


def overflow_objects(deployed: Deployed, prefix: str) -> list[bytes]:
    """Return the objects of the overflow bucket whose paths begin with `prefix`."""
    s3, bucket = deployed.client("s3"), deployed.stack.overflow_bucket
    found = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
    return [s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read() for one in found]
