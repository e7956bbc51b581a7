"""One function for each reader that meets hostile bytes; knows no fuzzer.

Each answers in silence, or raises what a reader must never raise: an error that
is not ours, or ``OutOfBounds``.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

from sectool import budget, cms, keys, smime
from sectool.cms.seams import PKCS1v15
from sectool.errors import MessageError, SectoolError, ServerUnavailable
from sectool.mailbox.imap import utf7
from sectool.mailbox.imap.fetched import LAST_UID, Collected
from sectool.mailbox.imap.folders import name_of
from sectool.mailbox.imap.reader import Data, Reader, Sink as StringSink
from sectool.message import BytesContent, Content, FileContent, Sink
from sectool.outcome import PlaintextDigest
from tests.support.opening import open_envelope

SECONDS = 1.0
"""Of processor time for one message."""
PASSWORD_ITERATIONS = 1000
"""A derivation of a million rounds is allowed, and would leave no time for anything else."""


class OutOfBounds(Exception):
    """A reader took too long, or contradicted itself."""


class _AnyKey:
    """A key that agrees to everything and gives what fits most algorithms."""

    def __init__(self, size: int) -> None:
        self.label = f"{size} bytes"
        self._secret = bytes(range(size))

    def decrypt_rsa(self, encrypted_key: bytes, padding: cms.RSAPadding) -> bytes:  # noqa: ARG002 - the seam
        return self._secret

    def agree(self, public_key: bytes) -> bytes:  # noqa: ARG002 - the seam
        return self._secret

    def decapsulate(self, ciphertext: bytes) -> bytes:  # noqa: ARG002 - the seam
        return self._secret


class _AnyKeys:
    """Holds a key for every recipient."""

    _KEYS = tuple(_AnyKey(size) for size in (32, 16, 24, 8, 5))

    def find(self, identifier: cms.RecipientIdentifier) -> Sequence[cms.KeyOperations]:  # noqa: ARG002 - the seam
        return self._KEYS


_SECRETS = cms.SharedSecrets(passwords=(b"sample",), unnamed_keys=(bytes(16), bytes(32)))
_LIMITS = {**budget.MESSAGE, budget.Work.DERIVATION: PASSWORD_ITERATIONS}


def read_cms(data: bytes) -> None:
    """Describes bytes as an envelope, opens it with keys that fit, verifies it as a signature."""
    source = BytesContent(data)
    with suppress(MessageError):
        cms.identify(data)
    with suppress(MessageError):
        cms.describe_envelope(source)
    with suppress(MessageError), budget.spending(budget.Budget(_LIMITS)):
        open_envelope(source, cms.DISCARD, _AnyKeys(), secrets=_SECRETS)
    with suppress(MessageError):
        cms.verify_signers(source)


def read_message(data: bytes) -> None:
    """Takes the inventory of bytes as a stored message, and opens what it finds."""
    content = BytesContent(data)
    for part in smime.take_inventory(content).parts:
        with suppress(MessageError):
            smime.find_opening(part, _AnyKeys())
        smime.outer_header(content, part)
    smime.check_signature(content)


def read_plaintext(data: bytes) -> None:
    """Takes bytes for what was decrypted: looks for layers, for a Subject, for who signed."""
    for content in (BytesContent(data), smime.PushedContent(_writer(data), len(data))):
        for content_type in (cms.ID_DATA, cms.SIGNED_DATA):
            inside = smime.look_inside(content, content_type)
            layers: list[tuple[Content, smime.EncryptedPart]]
            layers = [(content, part) for part in inside.parts]
            layers += [(covered.content, covered.part) for covered in inside.covered]
            for around, part in layers:
                with suppress(MessageError):
                    smime.find_opening(part, _AnyKeys())
                smime.outer_header(around, part)
            smime.check_signature(content, content_type=content_type)
            subject = smime.protected_subject(content, content_type)
            if subject is not None and not _is_one_line(subject):
                raise OutOfBounds("a Subject would not stay in its header field")
        smime.digest_around(content, smime.look_inside(content, cms.ID_DATA).parts)
    shown = smime.with_protected_subject(BytesContent(data), b"x")
    if shown is not None and shown.digest == BytesContent(data).digest:
        raise OutOfBounds("a Subject was replaced by itself")


def _writer(data: bytes) -> Callable[[Sink], object]:
    def write_to(sink: Sink) -> None:
        for start in range(0, len(data), 1000):
            sink.write(data[start : start + 1000])

    return write_to


def _is_one_line(subject: bytes) -> bool:
    return subject.isascii() and not set(subject) & {*range(32), 127}


def splice(data: bytes) -> None:
    """Puts the CMS of a message in its own place: it stays, and a second time changes nothing."""
    inventory = smime.take_inventory(BytesContent(data))
    if not inventory.parts or any(_is_damaged(part) for part in inventory.parts):
        return
    once = _spliced(data, inventory)
    again = smime.take_inventory(BytesContent(once))
    digests = [part.envelope.digest for part in inventory.parts]
    if [part.envelope.digest for part in again.parts] != digests:
        raise OutOfBounds("a splice of what was there lost it")
    if _spliced(once, again) != once:
        raise OutOfBounds("a second splice of the same changed the message")


def _is_damaged(part: smime.EncryptedPart) -> bool:
    """Whether lines that are no field stand in the header, which a splice may not mend."""
    sizes = (field.end - field.start for field in part.header.fields)
    return sum(sizes) != part.header.end - part.header.start


def _spliced(data: bytes, inventory: smime.Inventory) -> bytes:
    written = io.BytesIO()
    write_cms = _same_cms(inventory)
    smime.write_spliced(
        BytesContent(data), inventory.parts, written, write_cms, smime_type="enveloped-data"
    )
    return written.getvalue()


def _same_cms(inventory: smime.Inventory) -> Callable[[smime.Place, Sink], None]:
    parts = {part.path: part for part in inventory.parts}

    def write_cms(place: smime.Place, sink: Sink) -> None:
        part = parts[place.path]
        with part.source.open() as stream:
            sink.write(stream.read(part.envelope.size))

    return write_cms


_ANYWHERE = smime.ClearSelection(nested=True, wrapped=True)
_TEXT = b"Content-Type: text/plain\r\n\r\ntext\r\n"


def put_in_place(data: bytes) -> None:
    """Puts plaintexts in the place of the CMS of a message, and that back: it is as it was."""
    content = BytesContent(data)
    inventory = smime.take_inventory(content)
    if not inventory.parts or any(map(_ANYWHERE.why_left, inventory.parts)):
        return
    digests = [part.envelope.digest for part in inventory.parts]
    for plaintext in (_TEXT, data):
        written = _in_clear(content, inventory, BytesContent(plaintext))
        if written is None:
            continue
        back = io.BytesIO()
        words = [(part.word, part.envelope.digest) for part in inventory.parts]
        places = smime.places_of(written, [part.path for part in inventory.parts])
        write_cms = _same_cms(inventory)
        smime.write_spliced(
            *(written, places, back, write_cms),
            smime_type="enveloped-data",
            without=frozenset({smime.MARK_FIELD}),
        )
        again = BytesContent(back.getvalue())
        parts = smime.take_inventory(again).parts
        if [part.envelope.digest for part in parts] != digests:
            raise OutOfBounds("what was put in clear is not encrypted again where it was")
        if not smime.differs_by_envelopes_only(again, parts, words, inventory.identity):
            raise OutOfBounds("what is around a plaintext was changed")


def _in_clear(content: Content, inventory: smime.Inventory, inner: Content) -> Content | None:
    """A plaintext copy that was proven; None: it has to stay encrypted."""
    digest = PlaintextDigest(inner.digest)
    parts = [smime.DecryptedPart(part, inner, digest) for part in inventory.parts]
    mark = smime.Mark("0", 1)
    with tempfile.NamedTemporaryFile() as file, suppress(MessageError):
        smime.write_plaintext(content, parts, file, mark=mark)
        file.flush()
        smime.check_plaintext(FileContent(Path(file.name)), content, parts, mark=mark)
        file.seek(0)
        return BytesContent(file.read())
    return None


PASSPHRASE = "sample"  # noqa: S105  # of files that anybody may have
"""Of the key files that a fuzzer begins with."""
_FILE_LIMITS = {budget.Work.DERIVATION: 20_000, budget.Work.VALIDATION: 4}
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def read_keys(data: bytes) -> None:
    """Reads bytes as a key file, with a passphrase and without, and as a new certificate."""
    with tempfile.TemporaryDirectory() as place, patch.dict(budget.KEY_FILE, _FILE_LIMITS):
        path, passphrase = Path(place, "k.p12"), Path(place, "pass.txt")
        path.write_bytes(data)
        passphrase.write_text(PASSPHRASE)
        keys.looks_like_key_or_certificate(path)
        for file, checks_mac in ((None, True), (passphrase, False)):
            opens = keys.KeySpecification((path,), passphrase_file=file, checks_mac=checks_mac)
            with suppress(SectoolError):
                _use_keys(keys.load_key_history(opens))
            with suppress(SectoolError):
                _use_recipients(keys.load_new_recipients((path,), _NOW, passphrases=opens))


def _use_keys(history: keys.KeyHistory) -> None:
    """All that a command asks of a history before it meets mail."""
    keys.authority_names(history)
    for each in history.keys:
        for identifier in keys.identifiers_of(each):
            if not history.find(identifier):
                raise OutOfBounds("a key is not found by its own name")
        with suppress(MessageError):
            each.operations.decrypt_rsa(bytes(256), PKCS1v15())
    for entry in history.entries:
        _written(entry.subject, entry.issuer, entry.algorithm, str(entry.not_before))
    for problem in history.problems:
        _written(problem.reason, problem.hint)
    if len(keys.KeyHistory.from_material(history.material).keys) != len(history.keys):
        raise OutOfBounds("the workers would hold other keys")


def _use_recipients(recipients: Sequence[keys.NewRecipient]) -> None:
    for each in recipients:
        _written(each.subject, each.key_kind, *each.addresses, *each.overridden)
        each.names("anna@example.org")
        _written(each.public_key_identity.hex(), *each.subject_key_identifiers)


def _written(*texts: str) -> None:
    """What is told or logged is text of any alphabet, and can be written."""
    for text in texts:
        text.encode()


def read_imap(data: bytes) -> None:
    """Reads what a server says, and names the folders it tells of."""
    reader = Reader(io.BytesIO(data).read)
    with suppress(ServerUnavailable):
        while True:
            response = reader.read(StringSink(io.BytesIO(), most=len(data), total=len(data)))
            if isinstance(response, Data):
                Collected(range(LAST_UID)).take(response)
                _name_folders(response)
    with suppress(ValueError):
        if utf7.encode(utf7.decode(data)) != data:
            raise OutOfBounds("a name has two forms")


def _name_folders(response: Data) -> None:
    for value in response.values:
        if isinstance(value, bytes) and not name_of(value, b".").isprintable():
            raise OutOfBounds("a folder is called by what cannot be printed")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "cms": read_cms,
    "imap": read_imap,
    "in-place": put_in_place,
    "inventory": read_message,
    "keys": read_keys,
    "plaintext": read_plaintext,
    "splice": splice,
}


def within_bounds(
    target: Callable[[bytes], None], data: bytes, *, seconds: float = SECONDS
) -> None:
    """Runs a target and holds its time.

    Raises:
        OutOfBounds: it took too long, or contradicted itself.
    """
    start = time.process_time()
    target(data)
    took = time.process_time() - start
    if took > seconds:
        raise OutOfBounds(f"{len(data)} bytes took {took:.1f} seconds")
