"""A server of one account whose answers a test can replace, delay or cut anywhere."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from sectool.hardening import Secret
from sectool.mailbox import Account, Credentials, Mailbox, MailboxSpecification, open_mailbox

CAPABILITIES = "IMAP4rev1 SASL-IR AUTH=PLAIN NAMESPACE UIDPLUS"
DATE = "01-Jan-2001 10:00:00 +0200"
VALIDITY = 7

_LITERAL = re.compile(rb"\{(\d+)\}\Z")


@dataclass
class Server:
    """What the server has, and does.

    ``answers`` replaces the answers to commands that begin with its keys: a text is sent before
    OK, and bytes are sent as they are, with ``TAG`` for the tag of the command.
    """

    folders: dict[str, dict[int, bytes]] = field(default_factory=lambda: {"INBOX": {}})
    capabilities: str = CAPABILITIES
    greeting: bytes = b"* OK ready\r\n"
    answers: dict[str, str | bytes | Callable[[str], str | bytes | None]] = field(
        default_factory=dict
    )
    cuts: list[int] = field(default_factory=list)
    """After so many bytes each connection is cut, the first one first; none left: never."""
    password: str = "secret"
    said: list[bytes] = field(default_factory=list)
    """Every line that came."""
    connections: int = 0
    validity: int = VALIDITY
    before: bytes = b""
    """Is said before the answer to each command of a folder."""
    after_more: bytes = b""
    """Answers the line that follows a request for more."""
    size: int | None = None
    """Is told of every message; None: its size."""
    port: int = 0
    tls: ssl.SSLContext | None = None
    tls_first: bool = False

    def opened(
        self, account: Account | None = None, credentials: Credentials | None = None
    ) -> Mailbox:
        scheme = "imaps" if self.tls_first else "imap"
        return open_mailbox(
            MailboxSpecification(scheme, f"//alice@localhost:{self.port}/"),
            credentials or Credentials("alice", Secret(self.password)),
            account or Account(insecure=True),
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[Server]:
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        thread = threading.Thread(target=self._accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join(10)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            cut = self.cuts.pop(0) if self.cuts else None
            served = threading.Thread(target=self._serve, args=(connection, cut), daemon=True)
            served.start()

    def _serve(self, connection: socket.socket, cut: int | None) -> None:
        with contextlib.suppress(OSError, EOFError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if self.tls is not None and self.tls_first:
                connection = self.tls.wrap_socket(connection, server_side=True)
                stack.enter_context(connection)
            _Session(self, connection, cut).serve()


class _Session:
    def __init__(self, server: Server, connection: socket.socket, cut: int | None) -> None:
        self._server = server
        self._connection = connection
        self._left = cut
        self._file = connection.makefile("rb")
        self._folder = ""

    def serve(self) -> None:
        self._send(self._server.greeting)
        while line := self._line():
            self._server.said.append(line)
            tag, _, command = line.decode("latin-1").partition(" ")
            if command == "LOGOUT":
                return
            self._answer(tag, command)

    def _line(self) -> bytes:
        whole = b""
        while True:
            line = self._file.readline().removesuffix(b"\r\n")
            found = _LITERAL.search(line)
            if found is None:
                return whole + line
            self._send(b"+ go on\r\n")
            whole += line + b"\r\n" + self._file.read(int(found[1]))

    def _send(self, raw: bytes) -> None:
        if self._left is not None:
            raw, self._left = raw[: self._left], self._left - len(raw)
        self._connection.sendall(raw)
        if self._left is not None and self._left < 0:
            self._connection.shutdown(socket.SHUT_RDWR)
            raise EOFError

    def _answer(self, tag: str, command: str) -> None:
        for start, answer in self._server.answers.items():
            if command.startswith(start):
                given = answer(command) if callable(answer) else answer
                if isinstance(given, bytes):
                    self._send(given.replace(b"TAG", tag.encode()))
                    if given.startswith(b"+") and self._server.after_more:
                        self._server.said.append(self._line())
                        self._send(self._server.after_more.replace(b"TAG", tag.encode()))
                    return
                if given is not None:
                    self._send(f"{given}{tag} OK done\r\n".encode("latin-1"))
                    return
        unasked = self._server.before if command.startswith("UID") else b""
        self._send(unasked + self._usual(tag, command))

    def _usual(self, tag: str, command: str) -> bytes:  # noqa: PLR0911  # one for each command
        server, end = self._server, f"{tag} OK done\r\n".encode()
        if command == "CAPABILITY":
            return f"* CAPABILITY {server.capabilities}\r\n".encode() + end
        if command.startswith("LIST"):
            pattern = re.search(r'"([^"]*)"(?: RETURN.*)?\Z', command)
            names = [one for one in server.folders if pattern and pattern[1] in {"*", one}]
            return "".join(f'* LIST () "/" "{one}"\r\n' for one in names).encode() + end
        if command == "NAMESPACE":
            return b'* NAMESPACE (("" "/")) NIL NIL\r\n' + end
        if command.startswith("EXAMINE"):
            self._folder = command.partition('"')[2].rstrip('"')
            count = len(server.folders[self._folder])
            told = f"* {count} EXISTS\r\n* OK [UIDVALIDITY {server.validity}] valid\r\n"
            return told.encode() + end
        if command == "UID SEARCH ALL":
            uids = " ".join(map(str, server.folders[self._folder]))
            return f"* SEARCH {uids}\r\n".encode() + end
        if command.startswith("UID FETCH"):
            return b"".join(self._fetched(command)) + end
        return end

    def _fetched(self, command: str) -> Iterator[bytes]:
        _, _, wanted, items = command.split(" ", 3)
        part = re.search(r"BODY\.PEEK\[\]<(\d+)\.(\d+)>", items)
        runs = [run.partition(":") for run in wanted.split(",")]
        ranges = [range(int(first), int(last or first) + 1) for first, _, last in runs]
        for sequence, (uid, raw) in enumerate(self._server.folders[self._folder].items(), 1):
            if any(uid in numbers for numbers in ranges):
                told = f'* {sequence} FETCH (UID {uid} FLAGS (\\Seen) INTERNALDATE "{DATE}" '
                told += (
                    f"RFC822.SIZE {len(raw) if self._server.size is None else self._server.size}"
                )
                body = b""
                if part:
                    start, size = int(part[1]), int(part[2])
                    body = raw[start : start + size]
                    body = b" BODY[]<%d> {%d}\r\n%s" % (start, len(body), body)
                yield told.encode() + body + b")\r\n"
