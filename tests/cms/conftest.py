"""People with keys, a maker of envelopes good and bad, and the openssl command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from sectool import cms
from sectool.message import BytesContent
from tests.support.forge import (
    CONTENT,
    CONTENT_ENCRYPTION_KEY,
    Forge,
    Holder,
    KeyRing,
    Person,
    key_ring,
    make_holder,
    make_person,
)
from tests.support.opening import open_envelope
from tests.support.peers import OpenSSL, peer_missing

__all__ = [
    "CONTENT",
    "CONTENT_ENCRYPTION_KEY",
    "Forge",
    "Holder",
    "KeyRing",
    "OpenSSL",
    "Person",
]


@pytest.fixture(scope="session")
def bob() -> Person:
    return make_person("bob")


@pytest.fixture(scope="session")
def alice() -> Person:
    return make_person("alice")


@pytest.fixture(scope="session")
def both(bob: Person, alice: Person) -> tuple[Person, Person]:
    return bob, alice


@pytest.fixture(scope="session")
def person_maker() -> Callable[..., Person]:
    return make_person


@pytest.fixture(scope="session")
def holder() -> Callable[..., Holder]:
    return make_holder


@pytest.fixture(scope="session")
def forge(bob: Person) -> Forge:
    return Forge(bob)


@pytest.fixture(scope="session")
def ring() -> Callable[..., KeyRing]:
    return key_ring


@pytest.fixture
def openssl(tmp_path: Path) -> OpenSSL:
    return OpenSSL.start(tmp_path)


@pytest.fixture(scope="session")
def corpus() -> Path:
    path = Path(__file__).parents[3] / "shared" / "corpus"
    if not path.is_dir():
        peer_missing("../shared/corpus is not here")
    return path


@pytest.fixture(scope="session")
def open_bytes() -> Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]:
    """Opens bytes and answers the result with the content."""

    def open_bytes(
        raw: bytes, keys: cms.KeySource, limits: cms.Limits = cms.DEFAULT_LIMITS
    ) -> tuple[cms.Authenticated | cms.Unproven, bytes]:
        received: list[bytes] = []
        sink = _ListSink(received)
        result = open_envelope(BytesContent(raw), sink, keys, limits)
        return result, b"".join(received)

    return open_bytes


@pytest.fixture(scope="session")
def open_as_bob(
    bob: Person, open_bytes: Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
) -> Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]:
    """As ``open_bytes``, with Bob's key."""

    def open_as_bob(
        raw: bytes, limits: cms.Limits = cms.DEFAULT_LIMITS
    ) -> tuple[cms.Authenticated | cms.Unproven, bytes]:
        return open_bytes(raw, key_ring(bob), limits)

    return open_as_bob


@dataclass(frozen=True)
class _ListSink:
    received: list[bytes]

    def write(self, data: bytes, /) -> None:
        self.received.append(data)


@pytest.fixture(scope="session")
def seal_bytes(bob: Person) -> Callable[..., tuple[bytes, cms.Sealed]]:
    """Seals bytes, to Bob unless told otherwise, and answers the CMS with its record."""

    def seal_bytes(
        raw: bytes, *people: Person | Holder, profile: cms.Profile = cms.Profile.COMPATIBLE
    ) -> tuple[bytes, cms.Sealed]:
        received: list[bytes] = []
        recipients = [person.recipient for person in people or (bob,)]
        seal = partial(cms.seal_envelope, BytesContent(raw), _ListSink(received))
        sealed = seal(recipients, profile=profile)
        return b"".join(received), sealed

    return seal_bytes
