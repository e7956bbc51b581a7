"""Other programs open what sectool writes, or are known to refuse it."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Callable

import pytest

from sectool import cms
from sectool.message import BytesContent
from tests.interop.reading import READINGS, Reading
from tests.interop.table import OPENS, PeerName, Table
from tests.support.forge import key_ring
from tests.support.identities import certified
from tests.support.peers import Peer, PeerRefused

PeerOf = Callable[[PeerName], Peer]

SIZES = (0, 1, 16, 20_000, 1_000_003)
"""Bytes: with and without whole blocks, and longer than the programs' buffers."""
OPENED = [reading for reading in READINGS if not reading.cannot]
REFUSED = [reading for reading in READINGS if reading.cannot]


def sealed(reading: Reading, content: bytes, peer_of: PeerOf) -> bytes:
    sink = io.BytesIO()
    recipients = [certified(kind).recipient for kind in reading.kinds]
    if reading.original is None:
        cms.seal_envelope(BytesContent(content), sink, recipients, profile=reading.profile)
        return sink.getvalue()
    owner = certified("rsa")
    raw = peer_of(reading.original.peer).seal(content, *reading.original.words, to=[owner])
    opening = next(iter(cms.find_openings(BytesContent(raw), key_ring(owner))))
    cms.rewrap_envelope(opening, sink, recipients, profile=reading.profile)
    return sink.getvalue()


@pytest.mark.parametrize("reading", OPENED, ids=[reading.name for reading in OPENED])
def test_a_peer_opens_what_sectool_writes(reading: Reading, peer_of: PeerOf, table: Table) -> None:
    peer = peer_of(reading.peer)
    for size in SIZES:
        content = random.Random(size).randbytes(size)
        assert peer.open(sealed(reading, content, peer_of), certified(reading.kinds[0])) == content
    table.see(reading.cell, OPENS)


@pytest.mark.parametrize("reading", REFUSED, ids=[reading.name for reading in REFUSED])
def test_what_a_peer_does_not_open_it_refuses(
    reading: Reading, peer_of: PeerOf, table: Table
) -> None:
    raw = sealed(reading, b"plans", peer_of)
    with pytest.raises(PeerRefused) as refusal:
        peer_of(reading.peer).open(raw, certified(reading.kinds[0]))
    words = re.search(reading.cannot, str(refusal.value))
    assert words is not None, refusal.value
    table.see(reading.cell, f"cannot: {words[0]}")
