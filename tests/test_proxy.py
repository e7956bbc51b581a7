"""The proxy of the tests does to a connection what it is told, at the very byte."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.proxy import Act, Fault, Proxy, Way

COMMAND = b"S1 APPEND X {10}\r\n0123456789\r\n"


class Echo:
    """A server that gives back what it gets, in capitals, and remembers it."""

    def __init__(self) -> None:
        self.got: list[bytearray] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                got = bytearray()
                self.got.append(got)
                with connection, contextlib.suppress(OSError):
                    while block := connection.recv(1 << 16):
                        got += block
                        connection.sendall(block.upper())

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    yield server
    server.close()
    thread.join(10)


def exchanged(proxy: Proxy, sent: bytes, *, patience: float = 5.0) -> tuple[bytes, str]:
    """What came back for what was sent at once, and how it ended."""
    came = b""
    with socket.create_connection(("127.0.0.1", proxy.port), patience) as client:
        client.sendall(sent)
        try:
            while len(came) < len(sent):
                block = client.recv(1 << 16)
                if not block:
                    return came, "ended"
                came += block
        except TimeoutError:
            return came, "silence"
        except OSError:
            return came, "reset"
    return came, "whole"


def test_what_passes_a_proxy_is_as_it_was(echo: Echo) -> None:
    sent = bytes(range(97)) * 50_000
    with Proxy(echo.port).running() as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
            sender = threading.Thread(target=client.sendall, args=(sent,))
            sender.start()
            came = b""
            while len(came) < len(sent):
                came += client.recv(1 << 16)
            sender.join()
        assert came == sent.upper()
        assert exchanged(proxy, COMMAND) == (COMMAND, "whole")
    assert proxy.connections == 2


@pytest.mark.parametrize("place", [0, 1, 17, 18, 25, len(COMMAND) - 1])
def test_a_connection_is_cut_at_the_byte_in_each_way(place: int, echo: Echo) -> None:
    for way, whole in ((Way.TO_SERVER, False), (Way.TO_CLIENT, True)):
        with Proxy(echo.port, faults=[Fault(Act.CUT, way, place)]).running() as proxy:
            came, end = exchanged(proxy, COMMAND)
            assert exchanged(proxy, COMMAND) == (COMMAND, "whole")
        assert (came if whole else bytes(echo.got[-2])) == COMMAND[:place]
        assert end in {"ended", "reset"}


def test_a_place_is_counted_from_what_a_pattern_finds_in_either_way(echo: Echo) -> None:
    literal = rb"APPEND [^\r\n]*\{\d+\}\r\n"
    fault = Fault(Act.CUT, Way.TO_SERVER, 3, behind=literal)
    with Proxy(echo.port, faults=[fault]).running() as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            for number in range(len(COMMAND)):
                with contextlib.suppress(OSError):
                    client.sendall(COMMAND[number : number + 1])
                time.sleep(0.001)
        assert bytes(echo.got[-1]) == b"S1 APPEND X {10}\r\n012"
        proxy.faults[:] = [Fault(Act.CUT, after=2, behind=rb"BODY", seen=Way.TO_SERVER)]
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as client:
            client.sendall(b"first")
            assert client.recv(100) == b"FIRST"
            client.sendall(b"BODY")
            assert client.recv(100) == b"BO"
            assert client.recv(100) == b""


@pytest.mark.parametrize(
    ("act", "end"), [(Act.RESET, "reset"), (Act.STALL, "silence"), (Act.SWALLOW, "silence")]
)
def test_a_connection_is_reset_or_says_nothing_any_more(act: Act, end: str, echo: Echo) -> None:
    with Proxy(echo.port, faults=[Fault(act, after=4)]).running() as proxy:
        came, ended = exchanged(proxy, COMMAND, patience=0.3)
        assert (COMMAND.startswith(came), ended) == (True, end)
        assert exchanged(proxy, COMMAND) == (COMMAND, "whole")


def test_somebody_else_acts_while_nothing_passes(echo: Echo) -> None:
    seen: list[bytes] = []
    fault = Fault(lambda: seen.append(b"".join(map(bytes, echo.got))), Way.TO_SERVER, 5)
    with Proxy(echo.port, faults=[fault]).running() as proxy:
        assert exchanged(proxy, COMMAND) == (COMMAND, "whole")
    assert (fault.met, len(seen)) == (1, 1)
    assert COMMAND[:5].startswith(seen[0])


def test_a_fault_is_met_as_often_as_it_is_said_and_by_whom(echo: Echo) -> None:
    faults = [Fault(Act.CUT, times=2), Fault(Act.CUT, connection=4)]
    with Proxy(echo.port, faults=faults).running() as proxy:
        ends = [exchanged(proxy, COMMAND)[1] == "whole" for _ in range(5)]
    assert ends == [False, False, True, False, True]


def test_a_round_trip_takes_as_long_as_is_said_however_much_is_on_its_way(echo: Echo) -> None:
    with Proxy(echo.port, delay=0.05).running() as proxy:
        began = time.monotonic()
        assert exchanged(proxy, COMMAND) == (COMMAND, "whole")
        once = time.monotonic() - began
        began = time.monotonic()
        assert exchanged(proxy, b"x" * 200_000)[1] == "whole"
        assert once >= 0.1
        assert 0.1 <= time.monotonic() - began < 1.0


def test_no_more_passes_in_a_second_than_is_said(echo: Echo) -> None:
    with Proxy(echo.port, rate=100_000).running() as proxy:
        began = time.monotonic()
        assert exchanged(proxy, b"x" * 20_000)[1] == "whole"
        assert time.monotonic() - began >= 0.2
