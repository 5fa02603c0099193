"""relay, for which the minutes that a rotation waits for LangBot's turns are seconds."""

import sys
from unittest.mock import patch

from relay_cli.commands.bots import rotate
from relay_cli.commands.bots.rotate import may_sign_with_old
from relay_cli.main import main


def hurried(waited: float, open_turns: int) -> bool:
    return may_sign_with_old(60 * waited, open_turns)


with patch.object(rotate, "may_sign_with_old", hurried):
    sys.exit(main())
