"""The bot of `make verify-aws`: a LangBot HTTP bot as a Lambda function behind a function URL.

It keeps the idempotency keys in a table, so any instance can answer. A message's text says what it does:
`LONG:n` streams n parts, `BIG:n` says n bytes, `SILENT` says nothing, `BURN` answers 503 to the first key of
a message, as a full LangBot does. Anything else is echoed. A turn is an invocation of its own, since Lambda
stops a function once it has answered.
"""

import base64
import hashlib
import hmac
import json
import os
import re
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime

import boto3

CALLBACK_DELAYS = (0, 1, 2, 4)
"""Seconds before each attempt to post a part, as LangBot has them."""


def handler(event, context):
    """Answer a request to the function URL, or speak a turn."""
    if "turn" in event:
        return speak(event["callback_url"], event["turn"])
    headers, body = event["headers"], (event.get("body") or "").encode()
    if event.get("isBase64Encoded"):
        body = base64.b64decode(body)
    expected = signature("INBOUND_SECRET", headers.get("x-lb-timestamp", ""), body)
    if not hmac.compare_digest(expected, headers.get("x-lb-signature", "")):
        return response(401, 40101, "invalid signature: signature_mismatch")
    message, key = json.loads(body), headers.get("x-lb-idempotency-key", "")
    if not {"session_id", "message"} <= message.keys():
        return response(400, 40001, "session_id and message are required")
    text = "".join(segment.get("text", "") for segment in message["message"])
    if text.startswith("BURN") and key.endswith(".0"):
        return response(503, 50301, "too many inbound messages are already being processed")
    if not is_new(key):
        return response(409, 40901, "idempotency key already accepted")
    turn = {
        "session_id": message["session_id"],
        "reply_to": "in_" + hashlib.sha256(key.encode()).hexdigest()[:32],
    }
    path = event["rawPath"]
    if path.endswith("/sync"):
        reply = turn | {"message": [{"type": "Plain", "text": f"echo: {text}"}]}
        return response(200, 0, "ok", reply)
    if not text.startswith("SILENT"):
        # The relay has a callback URL a bot, and the last part of the path is the bot.
        work = {"callback_url": os.environ["CALLBACK_URL"] + path.strip("/").rpartition("/")[2]}
        work["turn"] = turn | {"text": text[:200]}
        invoke(context.function_name, work)
    data = {"session_id": turn["session_id"], "accepted_message_id": turn["reply_to"], "aggregating": True}
    return response(202, 0, "accepted", data)


def response(status, code, text, data=None):
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json"},
        "body": json.dumps({"code": code, "msg": text, "data": data}),
    }


def is_new(key):
    """Tell whether a key was never used; from now on it is."""
    dynamodb = boto3.client("dynamodb")
    try:
        dynamodb.put_item(
            TableName=os.environ["KEYS_TABLE"],
            Item={"key": {"S": key}},
            ConditionExpression="attribute_not_exists(#key)",
            ExpressionAttributeNames={"#key": "key"},
        )
    except dynamodb.exceptions.ConditionalCheckFailedException:
        return False
    return True


def invoke(function, work):
    boto3.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=json.dumps(work))


def speak(callback_url, turn):
    """Post the parts of a turn, one after the other."""
    text = turn.pop("text")
    said = [f"echo: {text}"]
    if long := re.match(r"LONG:(\d+)", text):
        words = [f"w{number:03d}" for number in range(int(long[1]))]
        said = [" ".join(words[: number + 1]) for number in range(len(words))]
    if big := re.match(r"BIG:(\d+)", text):
        said = ["x" * int(big[1])]
    for number, words in enumerate(said, 1):
        part = turn | {
            "sequence": number,
            "is_final": number == len(said),
            "stream": True,
            "message": [{"type": "Plain", "text": words}],
            "timestamp": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds"),
        }
        post(callback_url, json.dumps(part).encode())


def post(url, body):
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "X-LB-Timestamp": timestamp,
        "X-LB-Signature": signature("OUTBOUND_SECRET", timestamp, body),
    }
    for delay in CALLBACK_DELAYS:
        time.sleep(delay)
        try:
            with urllib.request.urlopen(  # noqa: S310 - the URL is the relay's
                urllib.request.Request(url, body, headers),  # noqa: S310
                timeout=15,
            ):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise
        except OSError as error:
            print(f"a part was not taken: {error!r}")


def signature(secret, timestamp, body):
    key = os.environ[secret].encode()
    return "sha256=" + hmac.new(key, f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
