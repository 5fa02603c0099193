"""relay, for which the minutes that a rotation waits for LangBot's turns are seconds."""

import sys
from unittest.mock import patch

from relay_cli import connect
from relay_cli.connection import may_sign_with_old
from relay_cli.main import main


def hurried(waited: float, open_turns: int) -> bool:
    return may_sign_with_old(60 * waited, open_turns)


with patch.object(connect, "may_sign_with_old", hurried):
    sys.exit(main())
