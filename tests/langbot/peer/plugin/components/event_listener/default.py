"""What the runner does without a model, for releases of LangBot that have no runners in plugins."""

from importlib.util import find_spec

from langbot_plugin.api.definition.components.common.event_listener import EventListener
from langbot_plugin.api.entities.builtin.platform.message import Image, MessageChain, Plain
from langbot_plugin.api.entities.context import EventContext
from langbot_plugin.api.entities.events import PersonNormalMessageReceived
from ready_replies import ready_replies


class ReadyReplies(EventListener):
    async def initialize(self) -> None:
        await super().initialize()
        if find_spec("langbot_plugin.api.definition.components.runner"):
            return

        @self.handler(PersonNormalMessageReceived)
        async def reply(context: EventContext) -> None:
            for words, picture in ready_replies(context.event.text_message):
                segments = [Plain(text=words), *([Image(base64=picture)] if picture else [])]
                await context.reply(MessageChain(segments))
                context.prevent_default()
