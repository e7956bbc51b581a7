"""Checkpoints and originals: whole or not there, and enough without the log."""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path

import pytest

from sectool.checkpoint import CheckpointStore, OriginalStore, OriginalToKeep, SealedFiles
from sectool.crashpoints import install
from sectool.errors import CheckpointDamaged, MessageChanged
from sectool.message import BytesContent, FileContent, InnerEntity, open_regular_file
from sectool.outcome import ContentDigest, Integrity, MessageDigest, PlaintextDigest
from tests.support.forge import key_ring, make_holder

DIGEST = ContentDigest("d1" * 32)
HEADER = b"From: workshop@example.org\nSubject: plans\n"
INNER = b"Content-Type: text/plain\r\n\r\nthe plans\r\n"


def entity(raw: bytes, *, has_header_block: bool = True) -> InnerEntity:
    return InnerEntity(
        size=len(raw),
        sha256=PlaintextDigest(hashlib.sha256(raw).hexdigest()),
        content_type="1.2.840.113549.1.7.1",
        integrity=Integrity.NONE,
        has_header_block=has_header_block,
        content=BytesContent(raw),
    )


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "checkpoints")
    store.prepare()
    return store


def kept(store: CheckpointStore, header: bytes, inner: InnerEntity) -> bytes:
    store.adopt([store.write(DIGEST, header, inner)])
    with store.open(DIGEST).inner.open() as stream:
        return stream.read()


FORGED = (
    b"X-Sectool-Checkpoint: v=1; inner-offset=000000000010; inner-sha256=" + b"0" * 64
    + b"; content-type=1.2.3\n"
)  # fmt: skip

HEADERS = {
    "lf": HEADER,
    "crlf": HEADER.replace(b"\n", b"\r\n"),
    "empty": b"",
    "without its last line end": HEADER[:-1],
    "8-bit": b"Subject: \xe4\xf6\xfc\n",
    "with a field of our name": HEADER + FORGED,
    "with a folded field of our name": HEADER + b"x-sectool-checkpoint: v=1;\n inner-offset=0\n",
}


@pytest.fixture(params=["plain", "sealed"])
def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStore:
    """A store of each kind."""
    someone = make_holder("rsa")
    files = SealedFiles([someone.recipient], key_ring(someone))
    store = CheckpointStore(tmp_path / "any", files if request.param == "sealed" else None)
    store.prepare()
    return store


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_the_inner_entity_comes_back_byte_for_byte(
    any_store: CheckpointStore, header: bytes
) -> None:
    assert kept(any_store, header, entity(INNER)) == INNER


INNERS = {
    "folded first line": b" begins with a space\r\n\r\nx",
    "no header": b"just text",
    "empty": b"",
    "binary": bytes(range(256)) * 40,
    "holds a field of our name": HEADER + FORGED + b"\nbody",
}


@pytest.mark.parametrize("raw", INNERS.values(), ids=INNERS.keys())
def test_odd_inner_entities_come_back_byte_for_byte(any_store: CheckpointStore, raw: bytes) -> None:
    assert kept(any_store, HEADER, entity(raw, has_header_block=False)) == raw


def test_a_checkpoint_knows_digest_and_content_type_without_the_log(
    any_store: CheckpointStore,
) -> None:
    kept(any_store, HEADER, entity(INNER))
    checkpoint = any_store.open(DIGEST)
    assert checkpoint.inner.digest == checkpoint.inner_sha256
    assert checkpoint.inner_sha256 == hashlib.sha256(INNER).hexdigest()
    assert checkpoint.content_type == "1.2.840.113549.1.7.1"


def test_a_checkpoint_reads_as_a_mail_for_a_person(store: CheckpointStore) -> None:
    kept(store, HEADER, entity(INNER))
    text = store.path(DIGEST).read_bytes()
    assert text.startswith(HEADER)
    assert text.endswith(INNER)
    assert b"\n\n" not in text[: text.index(INNER)]


def test_checkpoints_are_for_their_owner_only(store: CheckpointStore, tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        kept(store, HEADER, entity(INNER))
    finally:
        os.umask(previous)
    assert store.path(DIGEST).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "checkpoints").stat().st_mode & 0o777 == 0o700


def test_what_an_interrupted_run_wrote_is_swept(store: CheckpointStore) -> None:
    store.write(DIGEST, HEADER, entity(INNER))
    store.prepare()
    assert list(store.incoming.iterdir()) == []


def test_a_file_that_reads_back_otherwise_is_not_adopted(store: CheckpointStore) -> None:
    incoming = store.write(DIGEST, HEADER, entity(INNER))
    incoming.path.write_bytes(b"something else")
    with pytest.raises(CheckpointDamaged):
        store.adopt([incoming])
    assert not store.path(DIGEST).exists()


def _cut(raw: bytes) -> bytes:
    return raw[:60]


def _without_line(raw: bytes) -> bytes:
    return raw.replace(b"X-Sectool-Checkpoint", b"X-Something-Different")


def _shifted(raw: bytes) -> bytes:
    return raw.replace(b"inner-offset=0000", b"inner-offset=0001")


@pytest.mark.parametrize("damage", [_cut, _without_line, _shifted], ids=lambda f: f.__name__)
def test_b82_a_damaged_checkpoint_is_told(store: CheckpointStore, damage) -> None:  # type: ignore[no-untyped-def]
    kept(store, HEADER, entity(INNER))
    path = store.path(DIGEST)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointDamaged):
        store.open(DIGEST)


def test_b82_a_missing_checkpoint_is_told(any_store: CheckpointStore) -> None:
    with pytest.raises(CheckpointDamaged):
        any_store.open(DIGEST)
    assert not any_store.may_hold(DIGEST, 0)


def test_a_look_at_its_size_tells_whether_a_checkpoint_may_be_whole(
    any_store: CheckpointStore,
) -> None:
    kept(any_store, HEADER, entity(INNER))
    assert any_store.may_hold(DIGEST, len(INNER))
    assert not any_store.may_hold(DIGEST, len(INNER) + 1000)


# --- originals -----------------------------------------------------------------------


@pytest.fixture
def originals(tmp_path: Path) -> OriginalStore:
    store = OriginalStore(tmp_path / "originals")
    store.prepare()
    return store


def test_an_original_is_a_second_name_of_the_file_where_it_can_be(
    originals: OriginalStore, tmp_path: Path
) -> None:
    file = tmp_path / "mail"
    file.write_bytes(INNER)
    digest = MessageDigest(hashlib.sha256(INNER).hexdigest())
    originals.keep([OriginalToKeep(digest, FileContent(file), partial(open_regular_file, file))])
    assert originals.path(digest).samefile(file)
    file.unlink()
    with originals.open(digest).open() as stream:
        assert stream.read() == INNER


def test_an_original_without_a_file_is_copied(originals: OriginalStore) -> None:
    digest = MessageDigest(hashlib.sha256(INNER).hexdigest())
    originals.keep([OriginalToKeep(digest, BytesContent(INNER))])
    assert originals.path(digest).read_bytes() == INNER


def test_two_messages_with_the_same_bytes_share_one_original(originals: OriginalStore) -> None:
    digest = MessageDigest(hashlib.sha256(INNER).hexdigest())
    entry = OriginalToKeep(digest, BytesContent(INNER))
    originals.keep([entry, entry])
    originals.keep([entry])
    assert originals.path(digest).read_bytes() == INNER


def test_a_message_that_is_another_while_its_original_is_made_is_refused_alone(
    originals: OriginalStore,
) -> None:
    changed, stays = MessageDigest("00" * 32), MessageDigest(hashlib.sha256(INNER).hexdigest())
    kept = originals.keep([OriginalToKeep(one, BytesContent(INNER)) for one in (changed, stays)])
    assert isinstance(kept.refused[changed], MessageChanged)
    assert len(kept.refused) == 1
    assert [path.name for path in originals.path(stays).parent.iterdir()] == [f"{stays}.eml"]


def test_an_original_that_reads_back_otherwise_than_it_was_copied_ends_the_run(
    originals: OriginalStore,
) -> None:
    digest = MessageDigest(hashlib.sha256(INNER).hexdigest())

    def damage(point: str) -> None:
        if point == "original.sync.before":
            for path in originals.path(digest).parent.glob("*.new"):
                path.write_bytes(b"damaged")

    install(damage)
    try:
        with pytest.raises(CheckpointDamaged):
            originals.keep([OriginalToKeep(digest, BytesContent(INNER))])
    finally:
        install(None)
    assert not originals.path(digest).exists()


def test_of_messages_that_were_alike_one_that_still_is_gives_the_original(
    originals: OriginalStore,
) -> None:
    digest = MessageDigest(hashlib.sha256(INNER).hexdigest())
    raws = (INNER, b"edited since")
    for order in (raws, raws[::-1]):
        kept = originals.keep([OriginalToKeep(digest, BytesContent(raw)) for raw in order])
        assert not kept.refused
        assert originals.path(digest).read_bytes() == INNER
        originals.purge([digest])


@pytest.mark.parametrize("when", ["named before", "kept by a run that was killed", "two alike"])
def test_an_original_is_not_changed_under_a_name_that_stays(
    originals: OriginalStore, tmp_path: Path, when: str
) -> None:
    """As a server's copy of a message in another folder, which is the same file."""
    file, other = tmp_path / "mail", tmp_path / "other"
    file.write_bytes(INNER)
    digest = MessageDigest(hashlib.sha256(INNER).hexdigest())
    entry = OriginalToKeep(digest, FileContent(file), partial(open_regular_file, file))
    entries = [entry]
    if when == "named before":
        other.hardlink_to(file)
    elif when == "two alike":
        other.write_bytes(INNER)
        alike = OriginalToKeep(digest, FileContent(other), partial(open_regular_file, other))
        entries = [entry, alike]
    else:
        originals.keep(entries)
        other.hardlink_to(file)
    originals.keep(entries)
    for path in (file, other):
        with path.open("r+b") as stream:
            stream.write(b"changed")
    assert originals.path(digest).read_bytes() == INNER


def test_a_missing_original_is_told(originals: OriginalStore) -> None:
    with pytest.raises(CheckpointDamaged):
        originals.open(MessageDigest("00" * 32))
