"""The mark of a plaintext says no more than its bytes prove (G8)."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from sectool import cms, smime
from sectool.message import BytesContent
from sectool.outcome import Integrity
from sectool.smime.opening import pushed_content
from tests.support.signing import Signatory, make_signatory, sign

Seal = Callable[..., bytes]
Mail = Callable[..., bytes]

TEXT = b"Content-Type: text/plain\r\n\r\nThe plans are in the blue folder.\r\n"


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Signatory:
    """The mail of these tests is from her."""
    return make_signatory(tmp_path_factory.mktemp("signatory"), "alice")


@pytest.fixture(scope="module")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> Signatory:
    return make_signatory(tmp_path_factory.mktemp("signatory"), "mallory")


@pytest.fixture
def mark_of(mail: Mail, seal: Seal, bobs_keys: cms.KeySource) -> Callable[..., smime.IntegrityMark]:
    """The mark of an entity that was sealed for Bob."""

    def mark_of(
        inner: bytes, *, around: bytes | None = None, **options: object
    ) -> smime.IntegrityMark:
        raw = mail(seal(inner, **options))
        if around is not None:
            raw = around + raw.partition(b"\r\n")[2]
        content = BytesContent(raw)
        (part,) = smime.take_inventory(content).parts
        opened = smime.find_opening(part, bobs_keys).inner
        return smime.integrity_of(content, part, opened, smime.content_of(opened))

    return mark_of


Mark = Callable[..., smime.IntegrityMark]
NONE = smime.IntegrityMark(Integrity.NONE)


def test_what_nothing_protects_is_marked_so(mark_of: Mark) -> None:
    assert mark_of(TEXT) == NONE


def test_an_aead_says_only_that_the_sealer_is_unknown(mark_of: Mark) -> None:
    assert mark_of(TEXT, profile=cms.Profile.MODERN) == smime.IntegrityMark(Integrity.AEAD)


@pytest.mark.parametrize("options", [[], ["-nodetach"]], ids=["clear", "opaque"])
@pytest.mark.parametrize("profile", [cms.Profile.COMPATIBLE, cms.Profile.MODERN])
def test_a_signature_of_whoever_the_mail_is_from_counts_with_its_certificate(
    mark_of: Mark, alice: Signatory, profile: cms.Profile, options: list[str]
) -> None:
    mark = mark_of(sign(alice, TEXT, *options), profile=profile)
    assert mark == smime.IntegrityMark(Integrity.SIGNED, alice.fingerprint)


def test_a_signature_of_somebody_else_is_unmatched(mark_of: Mark, mallory: Signatory) -> None:
    mark = mark_of(sign(mallory, TEXT))
    assert mark == smime.IntegrityMark(Integrity.SIGNED_UNMATCHED, mallory.fingerprint)


@pytest.mark.parametrize(
    "around",
    [
        b"",
        b"From: alice@example.org\r\nFrom: mallory@example.org\r\n",
        b"From: alice@example.org, mallory@example.org\r\n",
        b"From: alice\r\n",
        b"From: " + b"(" * 5000 + b"alice@example.org\r\n",
        b"From: " + b"a@b, " * 20000 + b"\r\n",
    ],
    ids=["none", "two fields", "two addresses", "no address", "comments", "endless"],
)
def test_a_from_that_may_show_another_is_unmatched(
    mark_of: Mark, alice: Signatory, around: bytes
) -> None:
    assert mark_of(sign(alice, TEXT), around=around).integrity is Integrity.SIGNED_UNMATCHED


def test_a_from_inside_must_be_the_signer_too(mark_of: Mark, alice: Signatory) -> None:
    inside = b"From: ceo@example.org\r\n" + sign(alice, TEXT)
    assert mark_of(inside).integrity is Integrity.SIGNED_UNMATCHED


def test_case_makes_no_other_address(mark_of: Mark, alice: Signatory) -> None:
    around = b"From: =?utf-8?q?Alice?= <ALICE@Example.ORG>\r\n"
    assert mark_of(sign(alice, TEXT), around=around).integrity is Integrity.SIGNED


@pytest.mark.parametrize("options", [[], ["-nodetach"]], ids=["clear", "opaque"])
@pytest.mark.parametrize("profile", [cms.Profile.COMPATIBLE, cms.Profile.MODERN])
def test_a_signature_that_does_not_verify_counts_for_nothing(
    mark_of: Mark, alice: Signatory, profile: cms.Profile, options: list[str]
) -> None:
    signed = sign(alice, TEXT, *options)
    if options:
        header, _, body = signed.replace(b"\r\n", b"\n").partition(b"\n\n")
        der = base64.b64decode(body).replace(b"blue", b"grey")
        tampered = header + b"\n\n" + base64.encodebytes(der)
    else:
        tampered = signed.replace(b"blue", b"grey")
    assert tampered != signed
    bare = Integrity.AEAD if profile is cms.Profile.MODERN else Integrity.NONE
    assert mark_of(tampered, profile=profile) == smime.IntegrityMark(bare)


def test_a_signature_over_a_part_only_counts_for_nothing(mark_of: Mark, alice: Signatory) -> None:
    around = b"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n"
    mixed = around + sign(alice, TEXT) + b"\r\n--m\r\n\r\nby mallory\r\n--m--\r\n"
    assert mark_of(mixed) == NONE


def test_a_signer_of_a_forwarded_mail_is_held_against_its_own_from(
    mail: Mail, seal: Seal, bobs_keys: cms.KeySource, alice: Signatory
) -> None:
    forwarded = mail(seal(sign(alice, TEXT)))
    around = b"From: carol@example.org\r\nContent-Type: message/rfc822\r\n\r\n"
    content = BytesContent(around + forwarded)
    (part,) = smime.take_inventory(content).parts
    opened = smime.find_opening(part, bobs_keys).inner
    mark = smime.integrity_of(content, part, opened, smime.content_of(opened))
    assert mark.integrity is Integrity.SIGNED


def test_a_large_plaintext_is_marked_without_holding_it_in_memory(
    mail: Mail,
    seal: Seal,
    bobs_keys: cms.KeySource,
    alice: Signatory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pushed_content, "IN_MEMORY", 4 * 1024 * 1024)
    text = TEXT + b"a line of a large attachment\r\n" * 200_000
    content = BytesContent(mail(seal(sign(alice, text))))
    (part,) = smime.take_inventory(content).parts
    opened = smime.find_opening(part, bobs_keys, buffered_content=0).inner
    plaintext = smime.content_of(opened)
    assert isinstance(plaintext, smime.PushedContent)
    mark = smime.integrity_of(content, part, opened, plaintext)
    assert mark == smime.IntegrityMark(Integrity.SIGNED, alice.fingerprint)
