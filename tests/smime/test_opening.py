"""Parts are opened, judged, and given out only when they were accepted."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable

import pytest

from sectool import cms, smime
from sectool.budget import MESSAGE, Budget, Work, spending
from sectool.errors import (
    DecryptionFailed,
    MalformedMessage,
    MessageChanged,
    MissingKey,
    NotAccepted,
)
from sectool.message import BytesContent, InnerEntity
from sectool.outcome import Integrity
from sectool.smime.opening import open_part

Seal = Callable[..., bytes]
Mail = Callable[..., bytes]


def opening_of_all(
    raw: bytes, keys: cms.KeySource, buffered_content: int = 1 << 20
) -> smime.OpenedPart:
    content = BytesContent(raw)
    (part,) = smime.take_inventory(content).parts
    return smime.find_opening(part, keys, buffered_content=buffered_content)


def open_all(raw: bytes, keys: cms.KeySource, buffered_content: int = 1 << 20) -> InnerEntity:
    return opening_of_all(raw, keys, buffered_content).inner


def plaintext(inner: InnerEntity) -> bytes:
    sink = io.BytesIO()
    inner.write_to(sink)
    return sink.getvalue()


@pytest.mark.parametrize("buffered", [0, 1 << 20], ids=["decrypted twice", "in memory"])
@pytest.mark.parametrize("profile", [cms.Profile.COMPATIBLE, cms.Profile.MODERN])
def test_a_part_opens_to_the_bytes_that_were_sealed(
    profile: cms.Profile, buffered: int, seal: Seal, mail: Mail, bobs_keys: cms.KeySource
) -> None:
    content = b"Content-Type: text/plain\r\n\r\n" + bytes(range(32, 127)) * 1000
    inner = open_all(mail(seal(content, profile=profile)), bobs_keys, buffered)
    assert plaintext(inner) == content
    assert plaintext(inner) == content
    assert (inner.size, inner.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert inner.content_type == cms.ID_DATA
    assert inner.has_header_block
    aead = profile is cms.Profile.MODERN
    assert inner.integrity is (Integrity.AEAD if aead else Integrity.NONE)


def test_mail_of_the_openssl_command_opens(
    openssl: Callable[..., bytes], inner: bytes, bobs_keys: cms.KeySource
) -> None:
    raw = openssl(inner, "smime", "-encrypt", "-aes256", "-binary", "-subject", "plans")
    assert plaintext(open_all(raw, bobs_keys)) == inner


def test_the_openssl_command_opens_what_was_spliced(
    openssl: Callable[..., bytes], inner: bytes, seal: Seal, mail: Mail
) -> None:
    raw = mail(seal(), line_end=b"\n")
    content = BytesContent(raw)
    sink = io.BytesIO()
    smime.write_spliced(
        content,
        smime.take_inventory(content).parts,
        sink,
        lambda _, cms_sink: cms_sink.write(seal()),
        smime_type="enveloped-data",
    )
    assert openssl(sink.getvalue(), "smime", "-decrypt") == inner


def test_a_part_for_someone_else_misses_its_key(
    seal: Seal, mail: Mail, alice: object, bobs_keys: cms.KeySource
) -> None:
    with pytest.raises(MissingKey):
        open_all(mail(seal(b"Subject: x\r\n\r\n", alice)), bobs_keys)


def test_content_that_is_not_data_keeps_its_type(
    seal: Seal, mail: Mail, bobs_keys: cms.KeySource
) -> None:
    signed = b"\x30\x0e\x02\x01\x01\x31\x00" + bytes(9)
    inner = open_all(mail(seal(signed, content_type=cms.SIGNED_DATA)), bobs_keys)
    assert (inner.content_type, inner.has_header_block) == (cms.SIGNED_DATA, False)


def test_unproven_text_without_header_is_for_a_person(
    seal: Seal, mail: Mail, bobs_keys: cms.KeySource
) -> None:
    with pytest.raises(NotAccepted):
        open_all(mail(seal(b"Dear Bob,\r\n\r\nsee you tomorrow.\r\n" * 5)), bobs_keys)


def test_authenticated_text_without_header_is_taken(
    seal: Seal, mail: Mail, bobs_keys: cms.KeySource
) -> None:
    raw = mail(seal(b"Dear Bob,\r\n", profile=cms.Profile.MODERN))
    inner = open_all(raw, bobs_keys)
    assert (plaintext(inner), inner.has_header_block) == (b"Dear Bob,\r\n", False)


def test_what_looks_like_garbage_is_for_a_person_where_the_key_is_named(
    seal: Seal, mail: Mail, bobs_keys: cms.KeySource
) -> None:
    garbage = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(60))
    raw = mail(seal(garbage))
    with pytest.raises(NotAccepted, match="neither MIME nor CMS"):
        open_all(raw, bobs_keys)
    content = BytesContent(raw)
    (part,) = smime.take_inventory(content).parts
    released = frozenset({part.envelope.digest})
    assert plaintext(smime.find_opening(part, bobs_keys, released=released).inner) == garbage


def test_what_looks_like_garbage_is_garbage_where_nothing_names_the_key(
    seal: Seal, mail: Mail, bob: cms.KeyOperations, ring: Callable[..., cms.KeySource]
) -> None:
    garbage = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(60))
    with pytest.raises(MissingKey):
        open_trying(mail(seal(garbage)), ring(), bob)


@pytest.mark.parametrize(("size", "is_taken"), [(99, False), (100, True)])
def test_short_mail_is_for_a_person_where_nothing_names_the_key(
    size: int, is_taken: bool, seal: Seal, mail: Mail, bob: cms.KeyOperations,
    ring: Callable[..., cms.KeySource],
) -> None:  # fmt: skip
    content = b"Content-Type: text/plain\r\n\r\n".ljust(size, b".")
    if is_taken:
        assert plaintext(open_trying(mail(seal(content)), ring(), bob)) == content
        return
    with pytest.raises(NotAccepted, match="no recipient names the key"):
        open_trying(mail(seal(content)), ring(), bob)


def test_no_wrong_key_opens_a_part(
    seal: Seal, mail: Mail, bob: object, wrong_key: Callable[..., cms.KeySource]
) -> None:
    raw = mail(seal(b"Content-Type: text/plain\r\n\r\nshort\r\n"))
    content = BytesContent(raw)
    (part,) = smime.take_inventory(content).parts
    for number in range(300):
        key = hashlib.sha256(number.to_bytes(2)).digest()
        with pytest.raises((DecryptionFailed, NotAccepted)):
            smime.find_opening(part, wrong_key(bob, key))


def test_the_right_key_is_found_among_wrong_ones(
    seal: Seal, mail: Mail, inner: bytes, bob: object, ring: Callable[..., cms.KeySource],
    wrong_key: Callable[..., cms.KeySource], inventory_of: Callable[[bytes], smime.Inventory],
) -> None:  # fmt: skip
    raw = mail(seal())
    (part,) = inventory_of(raw).parts
    identifier = part.envelope.recipients[0].identifier
    assert identifier is not None
    wrong = wrong_key(bob, bytes(32), bytes(range(32)))
    both = [*wrong.find(identifier), *ring(bob).find(identifier)]

    class Both:
        def find(self, _: cms.RecipientIdentifier) -> list[cms.KeyOperations]:
            return both

    assert plaintext(open_all(raw, Both())) == inner


def test_two_different_plaintexts_that_pass_are_ambiguous(
    seal: Seal, mail: Mail, bobs_keys: cms.KeySource
) -> None:
    # No message can be made that opens to mail under two keys: that would take as
    # much luck as the strict test asks for.
    openings = [
        opening_of_all(mail(raw), bobs_keys) for raw in (seal(), seal(b"Subject: other\r\n\r\n"))
    ]
    with pytest.raises(NotAccepted, match="ambiguous"):
        open_part._the_one({one.inner.sha256: one for one in openings}, [], DecryptionFailed())


class Wrong:
    """A key that nothing names and that never fits."""

    label = "wrong"

    def __init__(self, content_encryption_key: bytes) -> None:
        self._content_encryption_key = content_encryption_key

    def decrypt_rsa(self, encrypted_key: bytes, padding: cms.RSAPadding) -> bytes:
        return self._content_encryption_key

    def agree(self, public_key: bytes) -> bytes:
        raise DecryptionFailed

    def decapsulate(self, ciphertext: bytes) -> bytes:
        raise DecryptionFailed


def open_trying(raw: bytes, keys: cms.KeySource, *unnamed: cms.KeyOperations) -> InnerEntity:
    content = BytesContent(raw)
    (part,) = smime.take_inventory(content).parts
    return smime.find_opening(part, keys, unnamed_keys=unnamed).inner


@pytest.mark.parametrize("profile", [cms.Profile.COMPATIBLE, cms.Profile.MODERN])
def test_a_key_that_nothing_names_opens_where_it_is_the_only_one(
    profile: cms.Profile, seal: Seal, mail: Mail, bob: cms.KeyOperations,
    ring: Callable[..., cms.KeySource],
) -> None:  # fmt: skip
    content = b"Content-Type: text/plain\r\n\r\n" + b"The plans are in the blue folder.\r\n" * 3
    raw = mail(seal(content, profile=profile))
    assert plaintext(open_trying(raw, ring(), Wrong(bytes(32)), bob, bob)) == content


def test_keys_that_nothing_names_and_do_not_fit_leave_the_key_missing(
    seal: Seal, mail: Mail, ring: Callable[..., cms.KeySource]
) -> None:
    for key in (b"", bytes(32), bytes(range(32))):
        with pytest.raises(MissingKey, match="no key for any recipient"):
            open_trying(mail(seal()), ring(), Wrong(key))


def test_a_crowd_of_recipients_is_not_tried_with_keys_that_nothing_names_and_that_is_said(
    seal: Seal, mail: Mail, bob: cms.KeyOperations, ring: Callable[..., cms.KeySource]
) -> None:
    with spending(Budget({**MESSAGE, Work.PRIVATE_KEY: 100})) as budget:
        with pytest.raises(MissingKey, match=r"on so many recipients; --limit-factor 10 tries"):
            open_trying(mail(seal()), ring(), *[bob] * 101)
        assert budget.has_declined
        assert budget.spent(Work.PRIVATE_KEY) == 0


def test_a_key_that_a_recipient_names_needs_no_others(
    seal: Seal, mail: Mail, bobs_keys: cms.KeySource, inner: bytes
) -> None:
    class Untouched(Wrong):
        def decrypt_rsa(self, encrypted_key: bytes, padding: cms.RSAPadding) -> bytes:
            raise AssertionError

    untouched = Untouched(b"")
    assert plaintext(open_trying(mail(seal()), bobs_keys, untouched)) == inner


def test_what_a_person_released_is_taken(seal: Seal, mail: Mail, bobs_keys: cms.KeySource) -> None:
    """B72."""
    text = b"Dear Bob,\r\n\r\nsee you tomorrow.\r\n" * 5
    stored = BytesContent(mail(seal(text)))
    (part,) = smime.take_inventory(stored).parts
    released = frozenset({part.envelope.digest})
    opened = smime.find_opening(part, bobs_keys, released=released).inner
    assert plaintext(opened) == text
    assert opened.integrity is Integrity.NONE


class Streamed:
    """Content that is not in memory, and may change."""

    digest = ""

    def __init__(self, raw: bytes) -> None:
        self.raw = bytearray(raw)
        self.size = len(raw)

    def open(self) -> io.BytesIO:
        return io.BytesIO(self.raw)


def test_a_message_that_changed_since_its_inventory_is_not_opened(
    seal: Seal, mail: Mail, bobs_keys: cms.KeySource
) -> None:
    content, other = Streamed(mail(seal())), mail(seal())
    (part,) = smime.take_inventory(content).parts
    content.raw[:] = other
    with pytest.raises(MessageChanged):
        smime.find_opening(part, bobs_keys)


def test_a_message_cut_since_its_inventory_is_malformed(
    seal: Seal, mail: Mail, bobs_keys: cms.KeySource
) -> None:
    content = Streamed(mail(seal()))
    (part,) = smime.take_inventory(content).parts
    del content.raw[-100:]
    with pytest.raises(MalformedMessage):
        smime.find_opening(part, bobs_keys)


def test_content_that_changes_between_two_readings_is_refused(
    seal: Seal, mail: Mail, bobs_keys: cms.KeySource
) -> None:
    content = Streamed(mail(seal(b"Subject: x\r\n\r\n" + b"x" * 100_000)))
    raw = content.raw
    (part,) = smime.take_inventory(content).parts
    inner = smime.find_opening(part, bobs_keys, buffered_content=0).inner
    middle = len(raw) - 10_000
    raw[middle] = ord("A") if raw[middle] != ord("A") else ord("B")
    with pytest.raises(MessageChanged):
        inner.write_to(io.BytesIO())


def test_of_a_message_on_disk_less_is_held_than_of_one_in_memory(
    seal: Seal, mail: Mail, bobs_keys: cms.KeySource
) -> None:
    raw = mail(seal(b"Subject: x\r\n\r\n" + b"x" * (5 * 2**20)))
    for content, is_held in ((BytesContent(raw), True), (Streamed(raw), False)):
        (part,) = smime.take_inventory(content).parts
        inner = smime.find_opening(part, bobs_keys).inner
        assert isinstance(inner.content, BytesContent) is is_held


def test_a_forwarded_part_opens(seal: Seal, mail: Mail, bobs_keys: cms.KeySource) -> None:
    raw = b"Subject: fwd\r\nContent-Type: message/rfc822\r\n\r\n" + mail(seal())
    assert open_all(raw, bobs_keys).has_header_block


def test_bytes_after_the_envelope_are_no_part_of_it(
    seal: Seal, mail: Mail, inner: bytes, bobs_keys: cms.KeySource
) -> None:
    envelope = seal()
    body = base64.encodebytes(envelope + b"\0\0\0")
    opened = open_all(mail(b"", body=body), bobs_keys)
    assert plaintext(opened) == inner


# --- altered on its way -----------------------------------------------------------


def _with_gadget(envelope: bytes, encrypted_size: int, block: int, known: bytes) -> bytes:
    """CBC content with a block of somebody's choice at ``block``, and garbage around it."""
    start = len(envelope) - encrypted_size
    blocks = [envelope[at : at + 16] for at in range(start, len(envelope), 16)]
    chosen = b'<img src="//e.x/'
    # blocks[1] decrypts to known ^ blocks[0]: before it goes what turns that into the choice.
    blocks[block - 1] = bytes(a ^ b ^ c for a, b, c in zip(blocks[0], known, chosen, strict=True))
    blocks[block] = blocks[1]
    return envelope[:start] + b"".join(blocks)


@pytest.mark.parametrize("block", range(3, 60, 4))
def test_a_gadget_in_cbc_content_is_never_more_than_unproven(
    block: int, seal: Seal, mail: Mail, bobs_keys: cms.KeySource
) -> None:
    """B31: it is judged as any other content, and no fetching or rendering makes it worse."""
    content = b"Content-Type: text/html; charset=utf-8\r\n\r\n" + b"<p>secret</p>\r\n" * 70
    envelope = seal(content)
    size = len(content) + 16 - len(content) % 16
    altered = _with_gadget(envelope, size, block, content[16:32])
    assert len(altered) == len(envelope)
    try:
        inner = open_all(mail(altered), bobs_keys)
    except NotAccepted:
        return
    text = plaintext(inner)
    assert text[16 * block : 16 * block + 16] == b'<img src="//e.x/'
    assert inner.integrity is Integrity.NONE
