"""What docs/querying.md composes of a turn's parts in TypeScript is what the library composes."""

import json
import random
import subprocess

from relay.domain.turn import effective_parts
from support.recordings import RECORDINGS, callbacks
from support.typescript import NODE, examples

(RULE,) = (code for code in examples("querying.md") if "function compose(" in code)
PROGRAM = f"""
import {{ readFileSync }} from "node:fs";
import {{ isDeepStrictEqual }} from "node:util";
{RULE}
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(compose)));
"""
TEXTS = ["", "a", "ab", "ab\N{REPLACEMENT CHARACTER}", "abc", "abé", "other", None, 5]
OTHERS = [
    {"type": "At", "target": "u1", "display": ""},
    {"type": "Image", "base64": "data:image/png;base64,AAAA"},
    {"type": "Image", "base64": "data:image/png;base64,BBBB"},
]


def made_up_turn(rng):
    """Return the parts of a turn: texts that grow, begin again and mix, and other segments."""

    def segments():
        texts = [{"type": "Plain", "text": rng.choice(TEXTS)} for _ in range(rng.choice([0, 1, 1, 1, 2]))]
        return [*rng.sample(OTHERS, rng.choice([0, 0, 1, 1, 2])), *texts]

    return [
        {"stream": rng.random() < 0.85, "is_final": rng.random() < 0.1, "message": segments()}
        for _ in range(rng.randint(1, 24))
    ]


def assert_composed_alike(turns):
    done = subprocess.run(
        [NODE, "--input-type=module-typescript", "--eval", PROGRAM],
        input=json.dumps(turns),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    expected = [[segment for part in effective_parts(turn) for segment in part["message"]] for turn in turns]
    for turn, reply, own in zip(turns, json.loads(done.stdout), expected, strict=True):
        assert reply == own, turn


def test_the_documented_rule_reads_each_recorded_turn_as_the_library():
    turns = {}
    for recording in RECORDINGS:
        for callback in callbacks(recording):
            part = json.loads(callback.raw)
            turns.setdefault((recording, part["session_id"], part["reply_to"]), []).append(part)
    assert turns
    assert_composed_alike(list(turns.values()))


def test_the_documented_rule_reads_made_up_turns_as_the_library():
    rng = random.Random(18)  # noqa: S311
    assert_composed_alike([made_up_turn(rng) for _ in range(2000)])
