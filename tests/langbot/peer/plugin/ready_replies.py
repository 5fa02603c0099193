"""Replies that no model gives."""

import base64
import re

RED_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)


def ready_replies(text: str) -> list[tuple[str, str]]:
    """Return words and picture (a data URL, or "") of each reply to `text`; none if the model replies.

    IMAGE:n is answered with a picture of n kB, REPLIES:n with n replies.
    """
    if image := re.search(r"IMAGE:(\d+)", text):
        picture = base64.b64encode(RED_PIXEL.ljust(int(image[1]) * 1000, b"\0")).decode()
        return [("here is a picture", "data:image/png;base64," + picture)]
    replies = re.search(r"REPLIES:(\d+)", text)
    return [(f"reply {n}", "") for n in range(1, int(replies[1]) + 1)] if replies else []
