"""The pages name the limits that the code has: who changes one finds the sentence that promises it."""

from pathlib import Path

import pytest

from publish import publisher
from relay.adapters import bot_cache, langbot, replies_table
from relay.domain import admission, attempt, event, message, retry

DOCS = Path(__file__).parents[2] / "docs"
KB = 1024


@pytest.mark.parametrize(
    ("page", "sentence", "limit"),
    [
        ("bots", "uses a changed secret within {} minutes", bot_cache.CACHE_TTL / 60),
        ("bots", "a new value without it | within {} minutes", bot_cache.CACHE_TTL / 60),
        ("bots", "its deletion | within {} minutes", bot_cache.CACHE_TTL / 60),
        ("bots", "cannot be used | within {} minutes", bot_cache.STALE_IF_INVALID / 60),
        ("bots", "the last good secret serves for {} hours", bot_cache.STALE_IF_ERROR / 3600),
        ("cost", "No function reads more than {} pages of 1 MB", replies_table.MAX_PAGES),
        ("delivery", "frees its slot after {} seconds", admission.SLOT_TIMEOUT),
        ("delivery", "frees its slot {} seconds after the end of that turn", admission.MERGED_SLOT_TIMEOUT),
        ("delivery", "{} s to connect", langbot.CONNECT_TIMEOUT),
        ("delivery", "at most {} s later: LangBot answers so", attempt.MAX_RELOAD_WAIT),
        ("delivery", "at most {} s, unless `Retry-After` is longer", retry.BACKOFF_CAP),
        ("delivery", "an idempotency key for {} seconds and answers 409", attempt.KEY_LIFETIME),
        ("receiving", "`message` is present up to {} KB", event.MAX_EVENT_REPLY_BYTES / KB),
        ("receiving", "if at most {} of the turn's parts make up the reply", publisher.MAX_EFFECTIVE_PARTS),
        ("receiving", "at most {} of its bodies are in OverflowBucket", publisher.MAX_BODIES),
        ("receiving", "any JSON object of up to {} KB", message.MAX_CONTEXT_BYTES / KB),
        ("receiving", "contexts have at most {} KB in an event", event.MAX_MERGED_CONTEXT_BYTES / KB),
        (
            "operating",
            "the status and first {} KB of the bot's last response",
            attempt.MAX_RESPONSE_EXCERPT / KB,
        ),
    ],
)
def test_a_page_names_the_limit_that_the_code_has(page, sentence, limit):
    text = " ".join((DOCS / f"{page}.md").read_text("utf-8").split())
    assert sentence.format(f"{limit:g}") in text
