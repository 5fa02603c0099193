"""A runner that streams as LangBot's own LocalAgent does: the text so far, every `stride` chunks.

It answers IMAGE:n with a picture of n kB and MULTI with three replies. With MIDFAIL it breaks off at the
third part.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator

from langbot_plugin.api.definition.components.runner.runner import Runner
from langbot_plugin.api.entities.builtin.provider.message import ContentElement, Message, MessageChunk
from langbot_plugin.api.entities.builtin.runner import RunnerContext, RunnerResult

RED_PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg=="
)


class PeerRunner(Runner):
    async def run(self, ctx: RunnerContext) -> AsyncGenerator[RunnerResult, None]:
        text = ctx.input.to_text()
        if image := re.search(r"IMAGE:(\d+)", text):
            picture = base64.b64encode(RED_PIXEL.ljust(int(image[1]) * 1000, b"\0")).decode()
            words = ContentElement.from_text("here is a picture")
            contents = [[words, ContentElement.from_image_base64("data:image/png;base64," + picture)]]
        elif "MULTI" in text:
            contents = [f"part {n} of 3" for n in (1, 2, 3)]
        else:
            async for result in self.ask_model(ctx, text):
                yield result
            return
        for content in contents:
            yield RunnerResult.message_completed(ctx.run_id, Message(role="assistant", content=content))
        yield RunnerResult.run_completed(ctx.run_id)

    async def ask_model(self, ctx: RunnerContext, text: str) -> AsyncGenerator[RunnerResult, None]:
        api = self.get_run_api(ctx)
        model = ctx.config["model"]["primary"]
        messages = [Message(role="user", content=text)]
        if not ctx.config["stream"]:
            answer = await api.invoke_llm(model, messages)
            yield RunnerResult.run_completed(ctx.run_id, Message(role="assistant", content=answer.content))
            return

        so_far, chunks, parts = "", 0, 0
        async for chunk in api.invoke_llm_stream(model, messages):
            chunks += 1
            so_far += chunk.content if isinstance(chunk.content, str) else ""
            if chunks % ctx.config["stride"] and not chunk.is_final:
                continue
            parts += 1
            if "MIDFAIL" in text and parts == 3:
                yield RunnerResult.run_failed(ctx.run_id, error="told to break off", code="runner.llm_error")
                return
            yield RunnerResult.message_delta(
                ctx.run_id,
                MessageChunk(
                    role="assistant", content=so_far, is_final=bool(chunk.is_final), msg_sequence=parts
                ),
            )
        yield RunnerResult.run_completed(ctx.run_id, Message(role="assistant", content=so_far))
