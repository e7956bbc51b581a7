"""A proxy before a real server: what passes it is cut, reset, stalled, swallowed, delayed, slowed.

Knows no protocol: where a fault is met is said in bytes, from the beginning of a connection or
from what a pattern finds. One thread, or one process (``serve``), has all connections.
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

BLOCK = 64 * 1024
WINDOW = 8 * 1024 * 1024
"""Bytes that are on their way at once, in each way of a connection."""
PATTERN = 1000
"""Bytes in which a pattern is looked for, before what came last."""


class Way(Enum):
    """Where bytes go."""

    TO_SERVER = "to the server"
    TO_CLIENT = "to the client"


class Act(Enum):
    """What becomes of a connection."""

    CUT = "cut"
    """Both sides are told that it ended."""
    RESET = "reset"
    """Both are told that it was reset."""
    STALL = "stall"
    """Nothing more passes this way, and whoever sends has to wait."""
    SWALLOW = "swallow"
    """Nothing more passes either way, and nobody is told until one side goes: a black hole."""


@dataclass
class Fault:
    """What happens, and where: bytes before that place pass, none behind it.

    ``Fault(Act.CUT, Way.TO_SERVER, 7, behind=rb"APPEND [^\\r\\n]*\\{\\d+\\}\\r\\n")`` cuts in the
    eighth byte of a literal; ``Fault(Act.CUT, after=3, behind=rb" UID STORE ",
    seen=Way.TO_SERVER)`` in the fourth of what is answered to that command.
    """

    act: Act | Callable[[], object]
    """A call is made while nothing passes, and then all goes on; it may not use the proxy."""
    way: Way = Way.TO_CLIENT
    after: int = 0
    """Bytes that pass this way, of the connection, or behind what the pattern found."""
    behind: bytes = b""
    """A pattern, which has to be found first; empty: the beginning of the connection."""
    seen: Way | None = None
    """In which way it is looked for; None: in that of the fault."""
    connection: int = 0
    """Its number, from 1 on; 0: any."""
    times: int = 1
    """Connections that meet it; then it is over."""
    met: int = 0
    """Connections that met it."""


@dataclass
class Proxy:
    """A proxy on a free port of this machine.

    Args:
        server: port of the server, on this machine.
        delay: seconds that each byte takes, in each way.
        rate: bytes a second, in each way of a connection; 0: all there are.
    """

    server: int
    delay: float = 0.0
    rate: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    port: int = 0
    connections: int = 0
    """That were made so far."""
    passed: dict[Way, int] = field(default_factory=lambda: dict.fromkeys(Way, 0))
    """Bytes of all connections."""

    @contextlib.contextmanager
    def running(self) -> Iterator[Proxy]:
        """Served by a thread."""
        with self.listener() as listener:
            thread = threading.Thread(target=self.serve, args=(listener,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                with contextlib.suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                thread.join(10)
                assert not thread.is_alive()

    def listener(self) -> socket.socket:
        """What ``serve`` accepts connections on, here or in another process."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = listener.getsockname()[1]
        return listener

    def serve(self, listener: socket.socket) -> None:
        """Serves until the listener is shut down."""
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            served: list[_Connection] = []
            try:
                while self._step(listener, selector, served):
                    served[:] = [one for one in served if not one.is_over]
            finally:
                for one in served:
                    one.end(Act.CUT)

    def _step(
        self, listener: socket.socket, selector: selectors.BaseSelector, served: list[_Connection]
    ) -> bool:
        due = [one.due for one in served if one.due is not None]
        wait = max(min(due) - time.monotonic(), 0) if due else None
        for key, events in selector.select(wait):
            if key.fileobj is listener:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return False
                served += self._accepted(client, selector)
            elif not key.data.connection.is_over:
                key.data.connection.ready(key.fileobj, events)
        for one in served:
            one.move()
        return True

    def _accepted(
        self, client: socket.socket, selector: selectors.BaseSelector
    ) -> list[_Connection]:
        self.connections += 1
        try:
            server = socket.create_connection(("127.0.0.1", self.server), 10)
        except OSError:
            client.close()
            return []
        return [_Connection(self, client, server, selector)]


class _Flow:
    """One way of a connection."""

    def __init__(self, connection: _Connection, way: Way) -> None:
        self.connection = connection
        self.way = way
        self.queue: deque[tuple[float, bytes | Fault | None]] = deque()
        """What is on its way, with when it arrives; None: the end."""
        self.queued = 0
        self.out = b""
        """What arrived, and is not taken yet."""
        self.received = 0
        self.tail = b""
        self.free = 0.0
        """When all that is on its way has passed the narrowest place."""
        self.is_stalled = self.has_ended = False


class _Connection:
    def __init__(
        self,
        proxy: Proxy,
        client: socket.socket,
        server: socket.socket,
        selector: selectors.BaseSelector,
    ) -> None:
        self._proxy = proxy
        self._number = proxy.connections
        self._selector = selector
        self._ends = {Way.TO_SERVER: server, Way.TO_CLIENT: client}
        """Where each way leads to."""
        self._flows = {way: _Flow(self, way) for way in Way}
        self._places: dict[int, int] = {}
        """Of faults whose pattern was found, where in their way."""
        self._met: set[int] = set()
        self._swallows = False
        self.is_over = False
        for end in self._ends.values():
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._register()
        self._queue(self._flows[Way.TO_CLIENT], b"")
        self._queue(self._flows[Way.TO_SERVER], b"")

    # --- what comes in -----------------------------------------------------------------------

    def ready(self, end: object, events: int) -> None:
        way = Way.TO_CLIENT if end is self._ends[Way.TO_SERVER] else Way.TO_SERVER
        if events & selectors.EVENT_READ and not self.is_over:
            self._receive(self._flows[way])

    def _receive(self, flow: _Flow) -> None:
        source = self._ends[Way.TO_SERVER if flow.way is Way.TO_CLIENT else Way.TO_CLIENT]
        try:
            block = source.recv(BLOCK)
        except BlockingIOError:
            return
        except OSError:
            self.end(Act.RESET)
            return
        if self._swallows:
            if not block:
                self.end(Act.CUT)
        elif not block:
            flow.has_ended = True
            flow.queue.append((time.monotonic() + self._proxy.delay, None))
        else:
            self._find(flow, block)
            self._queue(flow, block)
        self._register()

    def _find(self, flow: _Flow, block: bytes) -> None:
        """Looks for the patterns of faults; each begins what a fault counts from."""
        text = flow.tail + block
        for fault in self._open_faults():
            if not fault.behind or (fault.seen or fault.way) is not flow.way:
                continue
            if id(fault) in self._places:
                continue
            for found in re.finditer(fault.behind, text):
                if found.end() > len(flow.tail):
                    counted = self._flows[fault.way].received
                    if fault.way is flow.way:
                        counted += found.end() - len(flow.tail)
                    self._places[id(fault)] = counted + fault.after
                    break
        flow.tail = text[-PATTERN:]

    def _open_faults(self) -> list[Fault]:
        return [
            fault
            for fault in list(self._proxy.faults)
            if id(fault) not in self._met
            and fault.met < fault.times
            and fault.connection in {0, self._number}
        ]

    def _queue(self, flow: _Flow, block: bytes) -> None:
        """Puts bytes on their way, with the faults that lie between them."""
        while True:
            met = [
                (max(place - flow.received, 0), fault)
                for fault in self._open_faults()
                if fault.way is flow.way
                and (place := self._places.get(id(fault), -1 if fault.behind else fault.after)) >= 0
                and place <= flow.received + len(block)
            ]
            place, fault = min(met, key=lambda one: one[0]) if met else (len(block), None)
            self._put(flow, block[:place])
            block = block[place:]
            if fault is None:
                return
            fault.met += 1
            self._met.add(id(fault))
            flow.queue.append((flow.free + self._proxy.delay, fault))

    def _put(self, flow: _Flow, block: bytes) -> None:
        flow.received += len(block)
        self._proxy.passed[flow.way] += len(block)
        flow.free = max(flow.free, time.monotonic())
        while block:
            piece = block[: BLOCK if not self._proxy.rate else 1400]
            block = block[len(piece) :]
            flow.free += len(piece) / self._proxy.rate if self._proxy.rate else 0
            flow.queue.append((flow.free + self._proxy.delay, piece))
            flow.queued += len(piece)

    # --- what goes out -----------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """When there is something to do; None: when something comes in."""
        dues = [
            flow.queue[0][0]
            for flow in self._flows.values()
            if flow.queue and not flow.out and not flow.is_stalled
        ]
        return None if self.is_over or self._swallows else min(dues, default=None)

    def move(self) -> None:
        """Sends what has arrived."""
        for flow in self._flows.values():
            while not self.is_over and not self._swallows and not flow.is_stalled:
                if flow.out:
                    self._send(flow)
                if self.is_over or flow.out or not flow.queue:
                    break
                due, what = flow.queue[0]
                if due > time.monotonic():
                    break
                flow.queue.popleft()
                if isinstance(what, bytes):
                    flow.out = what
                elif what is None:
                    with contextlib.suppress(OSError):
                        self._ends[flow.way].shutdown(socket.SHUT_WR)
                else:
                    self._meet(flow, what)
        if not self.is_over:
            if all(flow.has_ended and not flow.queue for flow in self._flows.values()):
                self.end(Act.CUT)
            else:
                self._register()

    def _send(self, flow: _Flow) -> None:
        try:
            sent = self._ends[flow.way].send(flow.out)
        except BlockingIOError:
            return
        except OSError:
            self.end(Act.RESET)
            return
        flow.queued -= sent
        flow.out = flow.out[sent:]

    def _meet(self, flow: _Flow, fault: Fault) -> None:
        if not isinstance(fault.act, Act):
            fault.act()
        elif fault.act is Act.STALL:
            flow.is_stalled = True
        elif fault.act is Act.SWALLOW:
            self._swallows = True
        else:
            self.end(fault.act)

    def end(self, act: Act) -> None:
        """Closes both sides."""
        if self.is_over:
            return
        self.is_over = True
        for end in self._ends.values():
            with contextlib.suppress(KeyError):
                self._selector.unregister(end)
            with contextlib.suppress(OSError):
                if act is Act.RESET:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                else:
                    end.shutdown(socket.SHUT_WR)
            end.close()

    def _register(self) -> None:
        """Asks for what can be done now: nothing is read that has no room."""
        if self.is_over:
            return
        for way, end in self._ends.items():
            out = self._flows[way]
            incoming = self._flows[Way.TO_SERVER if way is Way.TO_CLIENT else Way.TO_CLIENT]
            reads = not (incoming.has_ended or incoming.is_stalled) and incoming.queued < WINDOW
            writes = bool(out.out) and not self._swallows and not out.is_stalled
            events = selectors.EVENT_READ * reads | selectors.EVENT_WRITE * writes
            key = self._selector.get_map().get(end)
            if not events and key is not None:
                self._selector.unregister(end)
            elif events and key is None:
                self._selector.register(end, events, out)
            elif key is not None and key.events != events:
                self._selector.modify(end, events, out)
