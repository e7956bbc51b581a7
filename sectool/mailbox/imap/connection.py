"""One connection to a server: opened, encrypted, asked. Knows no folder and no message."""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from sectool.errors import Again, LoginRefused, ServerUnavailable, UsageError, reason_of
from sectool.mailbox.imap.encoder import encode
from sectool.mailbox.imap.reader import (
    BadAnswer,
    Continuation,
    Data,
    Numbers,
    Reader,
    Response,
    Sink,
    Status,
)
from sectool.mailbox.retrying import check_stopped
from sectool.message import COPY_BLOCK
from sectool.values import dataclass

CONNECTING = 30.0
"""Seconds until a server has answered that it is there."""

SILENCE = 120.0
"""Seconds in which a server says nothing before it is taken for away."""

SLOWEST = 50
"""Bytes a second of one response, over a longer time than that."""

STEP = 0.5
"""Seconds between two questions whether the run is to stop."""

MOST_RESPONSES = 2_000_000
"""Untagged ones to one command."""

_BACKOFF = re.compile(r"Suggested Backoff Time: (\d{1,12}) milliseconds", re.IGNORECASE)
_AWAY = frozenset({"UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG"})
"""Codes of RFC 5530 that say that the same may do later."""

Take: TypeAlias = "Callable[[Data | Numbers | Status], object]"
"""Is given each untagged response to a command."""


class NotTrusted(ServerUnavailable):
    """Nobody knows who would get the password: it is not sent."""

    again = Again.NEVER


class Refused(Exception):
    """The server answered NO to a command; whoever asked says what it means."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens, and how its certificate is judged."""

    host: str
    port: int
    tls: bool
    """From the first byte on; else by STARTTLS."""
    ca_file: Path | None = None
    """Certificates of authorities; None: those of the system."""
    insecure: bool = False
    """Neither a certificate nor TLS is asked for, where the server is this machine."""

    def context(self) -> ssl.SSLContext:
        """How TLS is spoken.

        Raises:
            UsageError: the certificates of the authorities cannot be read.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else None
            raise UsageError(
                f"the file {self.ca_file} cannot be used: {reason or reason_of(error)}",
                hint="--ca-file takes certificates in PEM",
            ) from error
        if self.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def nothing(_: Data | Numbers | Status) -> None:
    """Where untagged responses say nothing that is needed."""


class Connection:
    """A connection on which commands are asked one after the other.

    Args:
        endpoint: where to.

    Attributes:
        capabilities: what the server can do, in capitals.

    Raises:
        ServerUnavailable: it is not there, or asks to come back later.
        NotTrusted: its certificate is not valid, or it speaks no TLS.
        UsageError: ``--insecure`` with a server that is not this machine.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.capabilities: frozenset[str] = frozenset()
        self._endpoint = endpoint
        self._tags = itertools.count(1)
        self._began = 0.0
        self._received = 0
        self._socket = self._connect()
        self._reader = Reader(self._receive)
        try:
            self._begin()
        except BaseException:
            self.drop()
            raise

    # --- opening --------------------------------------------------------------------------

    def _connect(self) -> socket.socket:
        where = self._endpoint.host, self._endpoint.port
        try:
            connected = socket.create_connection(where, CONNECTING)
        except (OSError, UnicodeError) as error:
            raise _away(f"cannot reach {self}", error) from error
        try:
            peer = ipaddress.ip_address(connected.getpeername()[0].partition("%")[0])
            if self._endpoint.insecure and not peer.is_loopback:
                raise UsageError(
                    f"--insecure is for a server on this machine, and {self} is not",
                    hint="leave it out; --ca-file names the authority of its certificate",
                )
            return self._encrypted(connected) if self._endpoint.tls else connected
        except BaseException:
            connected.close()
            raise

    def _encrypted(self, plain: socket.socket) -> socket.socket:
        plain.settimeout(CONNECTING)
        try:
            return self._endpoint.context().wrap_socket(plain, server_hostname=self._endpoint.host)
        except ssl.SSLCertVerificationError as error:
            raise NotTrusted(
                f"the certificate of {self} is not valid: {error.verify_message}",
                hint="--ca-file names the certificate of the authority that signed it",
            ) from error
        except ssl.SSLError as error:
            reason = (error.reason or "no reason").lower().replace("_", " ")
            hint = "imap:// for a server that begins without TLS" if self._endpoint.tls else ""
            raise NotTrusted(f"no TLS with {self}: {reason}", hint=hint) from error
        except (OSError, ValueError) as error:
            raise _away(f"no TLS with {self}", error) from error

    def _begin(self) -> None:
        greeting = self._response()
        if not isinstance(greeting, Status) or greeting.tag != "*":
            raise BadAnswer(f"{self} did not greet as an IMAP server does")
        self._check_away(greeting)
        if greeting.condition not in {"OK", "PREAUTH"}:
            raise BadAnswer(f"{self} did not greet as an IMAP server does")
        is_trusted = self._endpoint.tls or self._endpoint.insecure
        if greeting.condition == "PREAUTH" and is_trusted:
            raise LoginRefused(
                f"{self} opens a mailbox before anybody logs in, and does not say whose",
                hint="a port where it asks for a name and a password (its greeting: PREAUTH)",
            )
        self.look_at_capabilities(greeting)
        if is_trusted:
            return
        if greeting.condition == "PREAUTH" or "STARTTLS" not in self.capabilities:
            raise NotTrusted(
                f"{self} offers no TLS, and anybody on the way could read the password",
                hint="imaps:// where the server has it; --insecure for one on this machine",
            )
        self.ask("STARTTLS")
        if self._reader.has_more:
            raise NotTrusted(f"{self}, or somebody on the way, spoke before TLS was there")
        self._socket = self._encrypted(self._socket)
        self._reader = Reader(self._receive)
        self.look_at_capabilities()

    def look_at_capabilities(self, status: Status | None = None) -> None:
        """Asks what the server can do, unless it has told with ``status``."""
        code = "" if status is None else status.code
        if code.upper().startswith("CAPABILITY "):
            self.capabilities = frozenset(code.upper().split()[1:])
            return
        told: list[str] = []

        def take(response: Data | Numbers | Status) -> None:
            if isinstance(response, Data) and response.name == "CAPABILITY":
                told.extend(one.upper() for one in response.values if isinstance(one, str))

        self.ask("CAPABILITY", take=take)
        self.capabilities = frozenset(told)

    # --- asking ---------------------------------------------------------------------------

    def ask(self, *words: str | bytes, take: Take = nothing, sink: Sink | None = None) -> Status:
        """One command, and all that the server answers.

        Args:
            words: as ``encode`` takes them.
            take: given each untagged response.
            sink: where bytes of messages go.

        Raises:
            Refused: the answer is NO.
            ServerUnavailable: the connection is lost, or the server asks to come back later.
        """
        tag = f"S{next(self._tags)}"
        first, *others = encode(tag, words)
        with self._dropped_on_failure():
            self._send(first)
            for piece in others:
                if (ended := self._until(tag, take, sink)) is not None:
                    return self._judged(ended)
                self._send(piece)
            ended = self._until(tag, take, sink)
            if ended is None:
                raise BadAnswer("the server waits for more of a command that is whole")
            return self._judged(ended)

    def pour(self, pieces: Iterable[tuple[Iterable[bytes], bool]]) -> Status:
        """One command whose strings may be longer than memory is; untagged responses say nothing.

        Args:
            pieces: all of it behind the tag, in blocks, and whether the server has to ask for
                what comes next (RFC 9051 section 4.3).

        Raises:
            Refused: the answer is NO.
            ServerUnavailable: the connection is lost, or the server asks to come back later.
        """
        tag = f"S{next(self._tags)}"
        waiting = bytearray(f"{tag} ".encode())
        with self._dropped_on_failure():
            for blocks, is_awaited in pieces:
                for block in blocks:
                    waiting += block
                    if len(waiting) >= COPY_BLOCK:
                        self._send(bytes(waiting))
                        waiting.clear()
                if is_awaited:
                    self._send(bytes(waiting))
                    waiting.clear()
                    if (ended := self._until(tag, nothing, None)) is not None:
                        return self._judged(ended)
            self._send(bytes(waiting))
            ended = self._until(tag, nothing, None)
            if ended is None:
                raise BadAnswer("the server waits for more of a command that is whole")
            return self._judged(ended)

    def converse(self, command: str, first: bytes | None, answer: Callable[[], bytes]) -> Status:
        """AUTHENTICATE (RFC 9051 section 6.2.2): the server asks, and is answered a line each time.

        Args:
            command: all of it that is not secret.
            first: the first answer, which goes with the command (RFC 4959); None: on request.
            answer: makes the next answer.

        Raises:
            Refused: the answer is NO.
            ServerUnavailable: the connection is lost, or the server asks to come back later.
        """
        tag = f"S{next(self._tags)}"
        (line,) = encode(tag, [command])
        with self._dropped_on_failure():
            self._send(line if first is None else line[:-2] + b" " + first + b"\r\n")
            while (ended := self._until(tag, nothing, None)) is None:
                self._send(answer() + b"\r\n")
            return self._judged(ended)

    def _until(self, tag: str, take: Take, sink: Sink | None) -> Status | None:
        """Reads to the tagged answer; None: to where the server waits for more."""
        for _ in range(MOST_RESPONSES):
            response = self._response(sink)
            if isinstance(response, Continuation):
                return None
            if isinstance(response, Status):
                if response.tag == tag:
                    return response
                if response.tag != "*":
                    raise BadAnswer("the server answered a command that was not asked")
                if response.condition == "BYE":
                    self._check_away(response)
            take(response)
        raise BadAnswer("the server does not come to an end")

    def _judged(self, status: Status) -> Status:
        if status.condition == "OK":
            return status
        self._check_away(status)
        if status.condition == "NO":
            raise Refused(status)
        # What follows a BAD may be taken for something else than it is.
        self.drop()
        raise Refused(status)

    def _check_away(self, status: Status) -> None:
        backoff = _BACKOFF.search(status.text)
        if backoff is not None:
            raise ServerUnavailable(
                f"{self} asks to wait for {int(backoff[1]) // 1000} seconds",
                hint="the same command goes on; --patience lets it wait longer by itself",
                wait=int(backoff[1]) / 1000,
            )
        code = status.code.upper().partition(" ")[0]
        if status.condition == "BYE" or (status.condition != "OK" and code in _AWAY):
            raise ServerUnavailable(f"{self} is not at hand: {status.text or status.code}")

    # --- bytes ----------------------------------------------------------------------------

    def _response(self, sink: Sink | None = None) -> Response:
        self._began, self._received = time.monotonic(), 0
        return self._reader.read(sink)

    def _receive(self, most: int) -> bytes:
        silent = 0.0
        while True:
            check_stopped()
            try:
                self._socket.settimeout(STEP)
                if hasattr(socket, "TCP_QUICKACK"):
                    # Unless asked each time the system waits with its acknowledgement, and
                    # a server that waits for that takes 40 ms to an answer.
                    self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                received = self._socket.recv(most)
            except TimeoutError as error:
                silent += STEP
                if silent >= SILENCE:
                    raise _away(f"{self} says nothing any more", error) from error
            except OSError as error:
                raise _away(f"the connection to {self} was lost", error) from error
            else:
                self._received += len(received)
                taken = time.monotonic() - self._began
                if taken > SILENCE and self._received < SLOWEST * taken:
                    raise ServerUnavailable(f"{self} answers too slowly")
                return received

    def _send(self, piece: bytes) -> None:
        left, silent = memoryview(piece), 0.0
        while left:
            check_stopped()
            try:
                self._socket.settimeout(STEP)
                left, silent = left[self._socket.send(left) :], 0.0
            except TimeoutError as error:
                silent += STEP
                if silent >= SILENCE:
                    raise _away(f"{self} takes nothing any more", error) from error
            except OSError as error:
                raise _away(f"the connection to {self} was lost", error) from error

    # --- ending ---------------------------------------------------------------------------

    @contextlib.contextmanager
    def _dropped_on_failure(self) -> Iterator[None]:
        try:
            yield
        except Refused:
            raise
        except BaseException:
            # Whatever comes next on it may be the answer to this.
            self.drop()
            raise

    @property
    def is_open(self) -> bool:
        """Whether it can be asked."""
        return self._socket.fileno() >= 0

    def drop(self) -> None:
        """Closes it at once."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def close(self) -> None:
        """Says goodbye, as far as somebody listens."""
        if self.is_open:
            with contextlib.suppress(ServerUnavailable):
                self._send(b"Z LOGOUT\r\n")
            self.drop()

    def __str__(self) -> str:
        host = self._endpoint.host
        return f"[{host}]:{self._endpoint.port}" if ":" in host else f"{host}:{self._endpoint.port}"


def _away(what: str, error: Exception) -> ServerUnavailable:
    reason = reason_of(error) if isinstance(error, OSError) else "no such name"
    return ServerUnavailable(f"{what}: {reason}", hint="check host and port, and try again later")
