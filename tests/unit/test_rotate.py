import json

import pytest

from relay.domain.bot import parse_bot
from relay_cli.commands.bots.rotate import may_sign_with_old, rotation_has_begun
from relay_cli.terminal import CommandFailed

IN, OUT, OLD_IN, OLD_OUT = "i" * 43, "o" * 43, "j" * 43, "p" * 43
CONFIG = {"inbound_secret": IN, "outbound_secret": OUT}


def bot(inbound=IN, outbound=OUT):
    return parse_bot("sales", json.dumps({"inbound_secret": inbound, "outbound_secret": outbound}))


@pytest.mark.parametrize(
    ("inbound", "outbound", "langbot", "has_begun"),
    [
        (IN, OUT, {}, False),
        (IN, "", {"outbound_secret": ""}, False),
        ([OLD_IN, IN], [OLD_OUT, OUT], {}, True),
        (IN, [OLD_OUT, OUT], {}, True),
        # LangBot has the new ones in its form. It may not use them.
        ([IN, OLD_IN], [OUT, OLD_OUT], {}, True),
        (IN, [OUT, OLD_OUT], {}, True),
    ],
)
def test_rotation_that_was_interrupted_is_known(inbound, outbound, langbot, has_begun):
    assert rotation_has_begun(bot(inbound, outbound), CONFIG | langbot) is has_begun


@pytest.mark.parametrize(
    ("waited", "open_turns", "may_sign"), [(0, 0, True), (179, 0, True), (180, 0, False), (900, 1, True)]
)
def test_old_secret_serves_until_the_turns_that_began_with_it_end(waited, open_turns, may_sign):
    assert may_sign_with_old(waited, open_turns) is may_sign


@pytest.mark.parametrize("field", ["inbound_secret", "outbound_secret"])
def test_secret_that_the_relay_does_not_know_is_not_rotated(field):
    with pytest.raises(CommandFailed, match="run `relay connect --bot sales` first"):
        rotation_has_begun(bot(), CONFIG | {field: "another"})
