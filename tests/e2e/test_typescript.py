"""The TypeScript of docs/querying.md reads the deployed stack, and has the types that a release publishes."""

import json
import re
import subprocess
import time
from contextlib import contextmanager

import pytest

from relay import Messages
from relay.domain.keys import session_key
from support.callbacks import part_body, post_part, reply, signed_headers
from support.examples import environment_of
from support.parked_messages import park
from support.recordings import recorded
from support.typescript import NODE, NODE_PACKAGES, ROOT, examples, generated_types

COMPILER = NODE_PACKAGES / "node_modules/typescript/bin/tsc"
OPTIONS = ["--noEmit", "--strict", "--target", "esnext", "--module", "nodenext", "--types", "node"]
READ, COMPOSE, FOLLOW = examples("querying.md")
FOLLOWED = "followed"
READ_AND_FOLLOW = f'{READ}console.log("{FOLLOWED}");{COMPOSE}{FOLLOW}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project in TypeScript with the published types, and the packages that the examples import."""
    if not COMPILER.exists():
        pytest.fail("what the TypeScript examples import is not installed: `make test` installs it")
    folder = tmp_path_factory.mktemp("typescript")
    (folder / "node_modules").symlink_to(NODE_PACKAGES / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "langbot-relay.d.ts").write_text(generated_types(), "utf-8")
    return folder


def type_errors(folder, program):
    """Return the lines in which the compiler finds errors."""
    (folder / "program.ts").write_text(program, "utf-8")
    command = [NODE, COMPILER, *OPTIONS, "program.ts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    errors = [line for line in done.stdout.splitlines() if ": error TS" in line]
    assert done.returncode == (1 if errors else 0), done.stdout + done.stderr
    return errors


@pytest.mark.parametrize("page", ["querying.md", "sending.md"])
def test_the_examples_have_the_published_types(folder, page):
    assert type_errors(folder, "".join(examples(page))) == []


def test_the_published_types_take_a_recorded_part_and_the_sample_events(folder):
    samples = [("Part", json.loads(recorded("a_plain")[0].raw))]
    for schema in (ROOT / "docs/events").glob("*.schema.json"):
        name = schema.name.removesuffix(".schema.json").replace("-", "_")
        event = json.loads((ROOT / f"events/{name}.json").read_text("utf-8"))
        samples.append((event["detail-type"].replace(" ", ""), event["detail"]))
    imported = f'import type {{ {", ".join(name for name, _ in samples)} }} from "./langbot-relay.d.ts";\n'
    checks = "".join(f"({json.dumps(sample)}) satisfies {name};\n" for name, sample in samples)

    assert type_errors(folder, imported + checks) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Message", {"text": "without a session"}),
        ("Message", {"session_id": "ticket-1", "text": "hello", "action": "pull"}),
        ("Part", {"session_id": "ticket-1", "message": []}),
        ("MessageParked", {"type": "Reply Completed"}),
    ],
)
def test_the_published_types_refuse_what_a_schema_refuses(folder, name, value):
    program = (
        f'import type {{ {name} }} from "./langbot-relay.d.ts";\n({json.dumps(value)}) satisfies {name};\n'
    )
    (error,) = type_errors(folder, program)
    assert error.startswith("program.ts(2,")


@contextmanager
def running(folder, talk, program):
    """Run a program of the examples on the session of a test; the context is the process."""
    outputs = talk.deployed.local.outputs
    environment = environment_of(talk.deployed) | {
        "REPLIES": outputs["RepliesTableName"],
        "MESSAGES": outputs["MessagesTableName"],
        "OVERFLOW": outputs["OverflowBucketName"],
    }
    path = folder / "reading.ts"
    path.write_text(program.replace("default#ticket-1", session_key(talk.name, talk.session)), "utf-8")
    with subprocess.Popen(
        [NODE, path], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def read(folder, talk, program=READ):
    """Return what a program of the examples prints, and its errors."""
    with running(folder, talk, program) as process:
        return process.communicate(timeout=120)


def follow(folder, talk):
    """Return the replies that following each message of the session prints, and the errors."""
    printed, errors = read(folder, talk, READ_AND_FOLLOW)
    return printed.partition(f"{FOLLOWED}\n")[2].splitlines(), errors


def test_parts_and_records_are_read_in_order(folder, talk):
    for text in ("one", "two"):
        talk.conversation().wait(talk.push(text))
    printed, errors = read(folder, talk)
    assert errors == ""
    assert re.findall(r"echo: (\w+)", printed) == ["one", "two"]
    assert re.findall(r"Z (\w+) in_", printed) == ["answered", "answered"]


@pytest.mark.parametrize(
    "field",
    [{"filler": "x" * 450_000, "part": "no key"}, {"count": 10**30}],
    ids=["past DynamoDB's 400 KB", "past JavaScript's numbers"],
)
def test_a_part_of_any_size_is_read(folder, talk, field):
    message = [{"type": "Plain", "text": "here it is"}]
    assert post_part(talk, part_body(talk, message=message, **field)).status_code == 200
    printed, errors = read(folder, talk)
    assert errors == ""
    assert "here it is" in printed


def test_a_reply_is_followed_until_the_message_is_answered(folder, talk):
    sent = talk.push("SILENT")
    accepted_id = talk.deployed.accepted(sent)["accepted_message_id"]
    reply(talk, accepted_id, final=False, text="one", sequence=2)
    with running(folder, talk, READ_AND_FOLLOW) as process:
        assert list(iter(process.stdout.readline, f"{FOLLOWED}\n"))
        assert process.stdout.readline() == "one\n"
        an_hour_ago = time.strftime("%Y-%m-%dT%H:%M:%S.000001", time.gmtime(time.time() - 3600))
        late = {"timestamp": an_hour_ago, "stream": False, "sequence": 1}
        reply(talk, accepted_id, final=False, text="earlier, ", **late)
        reply(talk, accepted_id, text="one two", sequence=3)
        replies, errors = process.communicate(timeout=120)
    assert errors == ""
    assert replies.splitlines()[-1] == "earlier, one two"


def test_a_reply_that_is_not_expected_is_followed_until_its_final_part(folder, talk):
    sent = talk.push("hello", expect_reply=False)
    talk.conversation().wait(sent)
    assert follow(folder, talk) == (["echo: hello"], "")


def test_a_message_is_followed_to_the_turn_that_it_was_merged_into(folder, talk):
    sent = [talk.push("SILENT") for _ in range(2)]
    ids = [talk.deployed.accepted(one)["accepted_message_id"] for one in sent]
    raw = part_body(talk, reply_to=ids[0], message=[{"type": "Plain", "text": "to both"}])
    # Signed times have whole seconds, and this one must be later than both deliveries.
    assert post_part(talk, raw, signed_headers(raw, timestamp=str(int(time.time()) + 2))).status_code == 200
    talk.deployed.state(sent[1], "answered")
    assert follow(folder, talk) == (["to both", "to both"], "")


def test_a_message_is_followed_to_the_push_that_answered_it(folder, talk):
    sent = talk.push("SILENT")
    talk.deployed.accepted(sent)
    reply(talk, "", text="pushed")
    talk.deployed.state(sent, "answered")
    assert follow(folder, talk) == (["pushed"], "")


def test_a_message_is_followed_to_its_resend(folder, talk):
    _, record = park(talk)
    talk.conversation().wait(Messages(talk.deployed.stack).resend(record))
    assert follow(folder, talk) == (["echo: hello", "echo: hello"], "")


def test_following_ends_with_the_reason_if_no_reply_will_come(folder, talk):
    _, record = park(talk)
    replies, errors = follow(folder, talk)
    assert replies == []
    assert f"Error: parked: {record['reason']}" in errors
    Messages(talk.deployed.stack).drop(record, "closed by hand")
    assert "Error: dropped: closed by hand" in follow(folder, talk)[1]
