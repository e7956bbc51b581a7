"""The programs, each started when a test first needs it, and the table of what is seen."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.interop.reading import READINGS, Reading
from tests.interop.table import WRITE_ANEW, PeerName, Table
from tests.interop.writing import WRITINGS, Writing
from tests.support.peers import GPGSM, NSS, THUNDERBIRD, BouncyCastle, OpenSSL, Peer

_STARTS: dict[PeerName, Callable[[Path], Peer]] = {
    PeerName.OPENSSL: OpenSSL.start,
    PeerName.BOUNCY_CASTLE: lambda directory: BouncyCastle.start(
        directory, Path(__file__).with_name("BouncyCastle.java")
    ),
    PeerName.THUNDERBIRD: lambda directory: NSS.start(directory, THUNDERBIRD),
    PeerName.DEBIAN_NSS: NSS.start,
    PeerName.GPGSM: GPGSM.start,
}


TRIALS: tuple[Writing | Reading, ...] = (*WRITINGS, *READINGS)


@pytest.fixture(scope="session")
def table() -> Iterator[Table]:
    """What the tests see goes here; written to the document where that was asked for."""
    is_written_anew = os.environ.get(WRITE_ANEW) == "1"
    if is_written_anew and "PYTEST_XDIST_WORKER" in os.environ:
        pytest.fail("only a run in one process sees all the cells")
    table = Table(is_written_anew)
    yield table
    if is_written_anew:
        table.write(trial.cell for trial in TRIALS)


@pytest.fixture(scope="session")
def peer_of(
    tmp_path_factory: pytest.TempPathFactory, table: Table
) -> Iterator[Callable[[PeerName], Peer]]:
    """A program by its name."""
    peers: dict[PeerName, Peer] = {}
    with ExitStack() as running:

        def peer_of(name: PeerName) -> Peer:
            if name not in peers:
                peers[name] = _STARTS[name](tmp_path_factory.mktemp("peer"))
                running.callback(peers[name].stop)
                table.versions[name] = peers[name].version()
            return peers[name]

        yield peer_of
