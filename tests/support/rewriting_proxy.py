"""A server as it would be if it spoke a little differently: what goes by is changed on the way."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass
class RewritingProxy:
    """Between a client and a server on this machine."""

    target: int
    port: int = 0
    told: dict[bytes, bytes] = field(default_factory=dict)
    """Patterns of what the server says, and what is said instead."""
    asked: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Patterns of commands, and what is asked instead, once for each."""
    loses: list[bytes] = field(default_factory=list)
    """Patterns of commands; the answer to each is lost with the connection, once."""

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self.target)) as server:
            is_lost = threading.Event()
            other = threading.Thread(target=self._told, args=(server, client, is_lost))
            other.start()
            with contextlib.suppress(OSError):
                while received := client.recv(65536):
                    for pattern in list(self.loses):
                        if re.search(pattern, received):
                            is_lost.set()
                            self.loses.remove(pattern)
                    for change in list(self.asked):
                        received, count = re.subn(*change, received)
                        if count:
                            self.asked.remove(change)
                    server.sendall(received)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            other.join()

    def _told(self, server: socket.socket, client: socket.socket, is_lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while received := server.recv(65536):
                if is_lost.is_set() and not received.startswith(b"+"):
                    client.shutdown(socket.SHUT_RDWR)
                    return
                for pattern, instead in self.told.items():
                    received = re.sub(pattern, instead, received)
                client.sendall(received)
            client.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def rewriting(target: int) -> Iterator[RewritingProxy]:
    """One before the server at a port, that changes nothing yet."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = RewritingProxy(target, listener.getsockname()[1])

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=proxy._serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)
