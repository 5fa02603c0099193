"""An agent, or an event processor, that replies by a call for each reply.

It streams the reply to STREAM, quotes QUOTE and says nothing to SILENT.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

from langbot_plugin.api.definition.components.runner.runner import Runner
from langbot_plugin.api.entities.builtin.provider.message import Message
from langbot_plugin.api.entities.builtin.runner import RunnerContext
from ready_replies import ready_replies


class PeerAgent(Runner):
    async def run(self, ctx: RunnerContext) -> None:
        text = ctx.input.to_text()
        if "STREAM" in text:
            async with ctx.reply_stream() as reply:
                async for so_far in self.answer(ctx, text):
                    await reply.update(so_far)
            return
        replies = [words for words, _ in ready_replies(text)]
        if not replies:
            replies = [[so_far async for so_far in self.answer(ctx, text)][-1]]
        if "SILENT" not in text:
            for words in replies:
                await ctx.reply(words, quote_origin="QUOTE" in text)

    async def answer(self, ctx: RunnerContext, text: str) -> AsyncGenerator[str, None]:
        so_far = "agent: "
        messages = [Message(role="user", content=text)]
        async for chunk in self.get_run_api(ctx).invoke_llm_stream(ctx.config["model"]["primary"], messages):
            so_far += chunk.content if isinstance(chunk.content, str) else ""
            yield so_far
