"""Sealed checkpoints: nothing of them can be read without the key, nothing used before its tag."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from sectool import cms
from sectool.checkpoint import CheckpointStore, SealedFiles, profile_for
from sectool.errors import CertificateUnusable, CheckpointDamaged, MessageError
from sectool.message import IN_MEMORY, BytesContent, FileContent, InnerEntity, Sink
from sectool.outcome import ContentDigest, Integrity, PlaintextDigest
from sectool.smime import PushedContent
from tests.support.forge import Holder, key_ring, make_holder

DIGEST = ContentDigest("d1" * 32)
HEADER = b"From: workshop@example.org\nSubject: plans\n"
SMALL = b"Content-Type: text/plain\r\n\r\nthe plans\r\n"
LARGE = SMALL + b"0123456789abcdef" * (IN_MEMORY // 16)
SIZES = {"small": SMALL, "large": LARGE}


def entity(raw: bytes, *, says: int | None = None) -> InnerEntity:
    def write_to(sink: Sink) -> None:
        for start in range(0, len(raw), 65536):
            sink.write(raw[start : start + 65536])

    return InnerEntity(
        size=len(raw) if says is None else says,
        sha256=PlaintextDigest(hashlib.sha256(raw).hexdigest()),
        content_type=cms.ID_DATA,
        integrity=Integrity.NONE,
        has_header_block=True,
        content=PushedContent(write_to, len(raw)),
    )


Store = Callable[..., CheckpointStore]


@pytest.fixture
def store_for(tmp_path: Path) -> Store:
    """The store of one job, for those it is sealed to and those who open it."""

    def make(*recipients: Holder, keys: tuple[Holder, ...] = ()) -> CheckpointStore:
        files = SealedFiles([each.recipient for each in recipients], key_ring(*keys))
        store = CheckpointStore(tmp_path / "checkpoints", files)
        store.prepare()
        return store

    return make


def keep(store: CheckpointStore, raw: bytes) -> Path:
    store.adopt([store.write(DIGEST, HEADER, entity(raw))])
    return store.path(DIGEST)


def read(store: CheckpointStore) -> bytes:
    with store.open(DIGEST).inner.open() as stream:
        return stream.read()


@pytest.mark.parametrize("raw", SIZES.values(), ids=SIZES)
def test_what_was_sealed_comes_back_with_the_key(store_for: Store, raw: bytes) -> None:
    someone = make_holder("rsa")
    store = store_for(someone, keys=(someone,))
    keep(store, raw)
    assert read(store) == raw
    inner = store.open(DIGEST).inner
    assert (inner.size, inner.digest) == (len(raw), hashlib.sha256(raw).hexdigest())


@pytest.mark.parametrize("raw", SIZES.values(), ids=SIZES)
def test_whoever_can_seek_in_it_finds_no_more_than_the_inner_entity(
    store_for: Store, raw: bytes
) -> None:
    someone = make_holder("rsa")
    store = store_for(someone, keys=(someone,))
    keep(store, raw)
    with store.open(DIGEST).inner.open() as stream:
        if stream.seekable():
            stream.seek(0)
        assert stream.read() == raw


@pytest.mark.parametrize("kind", ["rsa", "p-256", "p-521", "x25519", "ml-kem-768", "ml-kem-1024"])
def test_it_is_authenticated_with_aes_256_gcm_whatever_the_key(store_for: Store, kind: str) -> None:
    someone = make_holder(kind)
    store = store_for(someone, keys=(someone,))
    path = keep(store, SMALL)
    assert cms.identify(path.read_bytes()) == cms.AUTH_ENVELOPED_DATA
    envelope = cms.describe_envelope(FileContent(path))
    assert envelope.content_encryption_algorithm == "aes-256-gcm"
    assert read(store) == SMALL


def test_each_of_several_recipients_opens_it_alone(store_for: Store) -> None:
    first, second = make_holder("rsa"), make_holder("p-256")
    keep(store_for(first, second), SMALL)
    assert read(store_for(keys=(first,))) == read(store_for(keys=(second,))) == SMALL


def test_openssl_makes_a_whole_checkpoint_of_it(store_for: Store, tmp_path: Path) -> None:
    someone = make_holder("rsa")
    path = keep(store_for(someone), SMALL)
    pem = tmp_path / "someone.pem"
    pem.write_bytes(someone.pem())
    command = ["openssl", "cms", "-decrypt", "-binary", "-inform", "DER"]
    done = subprocess.run(
        [*command, "-in", path, "-inkey", pem, "-recip", pem], capture_output=True, check=True
    )
    assert done.stdout.startswith(HEADER + b"X-Sectool-Checkpoint: v=1; inner-offset=")
    assert done.stdout.endswith(SMALL)


def test_nothing_of_the_mail_stands_in_the_file(store_for: Store) -> None:
    raw = keep(store_for(make_holder("rsa")), SMALL).read_bytes()
    assert not any(word in raw for word in (b"workshop", b"Subject", b"plans", b"X-Sectool"))


def test_another_key_does_not_open_it(store_for: Store) -> None:
    keep(store_for(make_holder("rsa")), SMALL)
    with pytest.raises(CheckpointDamaged, match="no key of --seal-keys opens it"):
        store_for(keys=(make_holder("rsa", "another"),)).open(DIGEST)


@pytest.mark.parametrize("raw", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0], ids=["first", "middle", "last"])
def test_an_altered_byte_is_told_before_anything_is_used(
    store_for: Store, raw: bytes, where: float
) -> None:
    someone = make_holder("rsa")
    store = store_for(someone, keys=(someone,))
    path = keep(store, raw)
    file = bytearray(path.read_bytes())
    place = len(file) - len(raw) - 20 + int((len(raw) + 19) * where)
    file[place] ^= 1
    path.write_bytes(file)
    with pytest.raises(CheckpointDamaged):
        store.open(DIGEST)


@pytest.mark.parametrize("raw", SIZES.values(), ids=SIZES)
def test_a_file_that_ends_too_soon_or_goes_on_is_told(store_for: Store, raw: bytes) -> None:
    someone = make_holder("rsa")
    store = store_for(someone, keys=(someone,))
    path = keep(store, raw)
    whole = path.read_bytes()
    for changed in (whole[:-1], whole[:100], b"", whole + b"x"):
        path.write_bytes(changed)
        with pytest.raises(CheckpointDamaged):
            store.open(DIGEST)


def test_a_large_one_that_is_altered_between_two_readings_is_told_at_its_end(
    store_for: Store,
) -> None:
    someone = make_holder("rsa")
    store = store_for(someone, keys=(someone,))
    path = keep(store, LARGE)
    inner = store.open(DIGEST).inner
    with path.open("r+b") as stream:
        stream.seek(-1000, os.SEEK_END)
        stream.write(b"altered")
    with pytest.raises(CheckpointDamaged), inner.open() as stream:
        stream.read()


def test_an_envelope_without_authentication_is_no_checkpoint(store_for: Store) -> None:
    someone = make_holder("rsa")
    store = store_for(someone, keys=(someone,))
    path = keep(store, SMALL)
    forged = BytesIO()
    cms.seal_envelope(BytesContent(SMALL), forged, [someone.recipient])
    path.write_bytes(forged.getvalue())
    with pytest.raises(CheckpointDamaged, match="not authenticated"):
        store.open(DIGEST)


def test_an_inner_entity_that_is_shorter_than_it_said_leaves_no_file(store_for: Store) -> None:
    store = store_for(make_holder("rsa"))
    with pytest.raises(MessageError):
        store.write(DIGEST, HEADER, entity(SMALL, says=len(SMALL) + 1))
    assert list(store.incoming.iterdir()) == []


def test_what_it_will_take_is_known_beforehand(store_for: Store) -> None:
    store = store_for(make_holder("rsa"))
    size = keep(store, LARGE).stat().st_size
    assert 0 <= size - store.size_of(len(LARGE)) < 500


def test_a_key_that_no_profile_takes_is_refused() -> None:
    with pytest.raises(CertificateUnusable):
        profile_for([make_holder("x448").recipient])


def test_certificates_that_no_one_profile_takes_are_refused() -> None:
    with pytest.raises(CertificateUnusable, match="together"):
        profile_for([make_holder("rsa").recipient, make_holder("ml-kem-768").recipient])
