from langbot_plugin.api.definition.plugin import BasePlugin


class PeerPlugin(BasePlugin):
    async def initialize(self) -> None:
        pass
