"""A server that answers over real sockets as each test wants, byte for byte."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Reply = bytes | Callable[[socket.socket], None]


class RawServer:
    """Answers each request with the next of `responses`: bytes, or a function of the connection."""

    def __init__(self, responses: tuple[Reply, ...] = (), context: ssl.SSLContext | None = None) -> None:
        self.responses, self.context = list(responses), context
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.listener.getsockname()[1]}/bots/1"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.connection = self.listener

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.connection = connection
            connection.settimeout(30)
            with suppress(OSError):
                if self.context:
                    self.connection = self.context.wrap_socket(connection, server_side=True)
                with self.connection:
                    self.answer(self.connection)

    def answer(self, connection: socket.socket) -> None:
        while self.responses and self.read_request(connection):
            response = self.responses.pop(0)
            if callable(response):
                response(connection)
                break
            connection.sendall(response)

    def read_request(self, connection: socket.socket) -> bool:
        """Read and keep a request; return whether there was one."""
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = connection.recv(65536)
            if not chunk:
                return False
            head += chunk
            if head.startswith(b"\x16"):  # TLS begins so; it gets a response in plain text
                return True
        head, _, body = head.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        while len(body) < int(headers.get("content-length", 0)):
            chunk = connection.recv(65536)
            if not chunk:
                return False
            body += chunk
        self.requests.append((lines[0], headers, body))
        return True

    def stop(self) -> None:
        for one in (self.listener, self.connection):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(timeout=30)
        assert not self.thread.is_alive()


@contextmanager
def serving(*responses: Reply, context: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    server = RawServer(responses, context)
    server.thread.start()
    try:
        yield server
    finally:
        server.stop()
