"""The console of the deployed stack, served in this process as `relay console` serves it."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import requests
import uvicorn

from relay import Stack
from relay_console.app import Console
from relay_console.guard import Guard
from support.waiting import eventually


@dataclass
class RunningConsole:
    """A console; `guard` has the link that opens it next, and `announced` those that came after the first."""

    guard: Guard
    port: int
    announced: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self, link: str) -> requests.Response:
        """Open a link as the page does; the response has the secret for all other requests."""
        with requests.Session() as session:
            session.trust_env = False
            headers = {"Origin": self.url, "Authorization": f"Bearer {link.partition('token=')[2]}"}
            return session.post(f"{self.url}/api/open", headers=headers, timeout=10)

    def browser(self) -> requests.Session:
        """Open the console; return a session with the secret and the Origin that its page sends."""
        session = requests.Session()
        session.trust_env = False
        opened = self.open(self.guard.link)
        assert opened.status_code == 200
        session.headers.update({"Origin": self.url, "Authorization": f"Bearer {opened.text}"})
        return session


@contextmanager
def serve_console(stack: Stack) -> Iterator[RunningConsole]:
    """Serve the console of a stack at a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        announced: list[str] = []
        port = listener.getsockname()[1]
        guard = Guard(Console(stack).application(), port, announced.append)
        server = uvicorn.Server(
            uvicorn.Config(
                guard,
                lifespan="off",
                ws="none",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        eventually(lambda: server.started, within=20)
        try:
            yield RunningConsole(guard, port, announced)
        finally:
            server.should_exit = True
            thread.join(10)
