"""A runner that streams as LangBot's own LocalAgent does: the text so far, every 8 chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from langbot_plugin.api.definition.components.runner.runner import Runner
from langbot_plugin.api.entities.builtin.provider.message import ContentElement, Message, MessageChunk
from langbot_plugin.api.entities.builtin.runner import RunnerContext, RunnerResult
from ready_replies import ready_replies

STRIDE = 8


class PeerRunner(Runner):
    async def run(self, ctx: RunnerContext) -> AsyncGenerator[RunnerResult, None]:
        text = ctx.input.to_text()
        replies = ready_replies(text)
        for words, picture in replies:
            content = [ContentElement.from_text(words)]
            if picture:
                content.append(ContentElement.from_image_base64(picture))
            yield RunnerResult.message_completed(ctx.run_id, Message(role="assistant", content=content))
        if replies:
            yield RunnerResult.run_completed(ctx.run_id)
            return

        so_far, chunks, parts = "", 0, 0
        messages = [Message(role="user", content=text)]
        async for chunk in self.get_run_api(ctx).invoke_llm_stream(ctx.config["model"]["primary"], messages):
            chunks += 1
            so_far += chunk.content if isinstance(chunk.content, str) else ""
            if chunks % STRIDE and not chunk.is_final:
                continue
            parts += 1
            yield RunnerResult.message_delta(
                ctx.run_id,
                MessageChunk(
                    role="assistant", content=so_far, is_final=bool(chunk.is_final), msg_sequence=parts
                ),
            )
        yield RunnerResult.run_completed(ctx.run_id, Message(role="assistant", content=so_far))
