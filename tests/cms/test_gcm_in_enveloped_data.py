"""AES-GCM in EnvelopedData, as programs write it: the content ends in its tag."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sectool import cms
from sectool.asn1 import der
from sectool.cms import oids
from sectool.errors import DecryptionFailed, MalformedMessage, UnsupportedMessage
from sectool.message import BytesContent
from tests.cms.conftest import CONTENT, CONTENT_ENCRYPTION_KEY, Forge, Person
from tests.support.forge import key_ring
from tests.support.opening import open_envelope

OpenAsBob = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
TEXT = "^the tag is missing or does not verify$"


def gcm_parameters(nonce: bytes, tag_size: int | None) -> bytes:
    size = b"" if tag_size is None else der.integer(tag_size)
    return der.sequence(der.octet_string(nonce), size)


FORMS: dict[str, Callable[[bytes, int | None], bytes]] = {
    "Bouncy Castle": gcm_parameters,
    "Go": lambda nonce, size: der.element(0x10, gcm_parameters(nonce, size)),
    "in a SEQUENCE once more": lambda nonce, size: der.sequence(gcm_parameters(nonce, size)),
}
BARE: Callable[[bytes], bytes] = der.octet_string


def encrypted(
    content: bytes = CONTENT, *, nonce: bytes = bytes(12), tag_size: int = 16, key_size: int = 32
) -> bytes:
    cipher = Cipher(algorithms.AES(CONTENT_ENCRYPTION_KEY[:key_size]), modes.GCM(nonce)).encryptor()
    return cipher.update(content) + cipher.finalize() + cipher.tag[:tag_size]


def envelope(
    forge: Forge,
    parameters: bytes,
    content: bytes | None = None,
    *,
    oid: str = oids.AES_256_GCM,
    recipients: list[bytes] | None = None,
    in_pieces: int = 0,
) -> bytes:
    content = encrypted() if content is None else content
    field = der.element(0x80, content)
    if in_pieces:
        pieces = [content[at : at + in_pieces] for at in range(0, len(content), in_pieces)]
        field = der.element(0xA0, b"".join(map(der.octet_string, pieces)))
    return forge.cbc(
        algorithm=der.sequence(der.oid(oid), parameters), field=field, recipients=recipients
    )


@pytest.mark.parametrize("tag_size", [12, 13, 14, 15, 16])
@pytest.mark.parametrize("form", FORMS)
def test_it_opens_authenticated_with_a_tag_of_the_size_that_is_said(
    form: str, tag_size: int, forge: Forge, open_as_bob: OpenAsBob
) -> None:
    nonce = os.urandom(12)
    raw = envelope(forge, FORMS[form](nonce, tag_size), encrypted(nonce=nonce, tag_size=tag_size))
    result, content = open_as_bob(raw)
    assert (content, type(result), result.aead) == (CONTENT, cms.Authenticated, True)


@pytest.mark.parametrize("nonce_size", [8, 12, 16])
@pytest.mark.parametrize("form", [*FORMS.values(), lambda nonce, _: BARE(nonce)])
def test_where_nothing_is_said_the_tag_has_sixteen_octets(
    form: Callable[[bytes, int | None], bytes],
    nonce_size: int,
    forge: Forge,
    open_as_bob: OpenAsBob,
) -> None:
    nonce = os.urandom(nonce_size)
    result, content = open_as_bob(envelope(forge, form(nonce, None), encrypted(nonce=nonce)))
    assert (content, result.aead) == (CONTENT, True)


@pytest.mark.parametrize(
    ("oid", "key_size"), [(oids.AES_128_GCM, 16), (oids.AES_192_GCM, 24), (oids.AES_256_GCM, 32)]
)
@pytest.mark.parametrize("in_pieces", [0, 1, 7, 15, 16, 17])
def test_each_key_size_opens_whatever_the_pieces_of_the_content(
    in_pieces: int, oid: str, key_size: int, forge: Forge, open_as_bob: OpenAsBob
) -> None:
    raw = envelope(
        forge,
        BARE(bytes(12)),
        encrypted(key_size=key_size),
        oid=oid,
        recipients=[forge.recipient(key=CONTENT_ENCRYPTION_KEY[:key_size])],
        in_pieces=in_pieces,
    )
    assert open_as_bob(raw)[1] == CONTENT


def test_content_of_megabytes_opens_in_blocks(forge: Forge, open_as_bob: OpenAsBob) -> None:
    content = os.urandom(3_000_001)
    result, opened = open_as_bob(envelope(forge, BARE(bytes(12)), encrypted(content)))
    assert (opened, result.aead) == (content, True)


def test_empty_content_opens_to_nothing(forge: Forge, open_as_bob: OpenAsBob) -> None:
    assert open_as_bob(envelope(forge, BARE(bytes(12)), encrypted(b"")))[1] == b""


TAG = encrypted()[-16:]
UNPROVEN = {
    "no tag, as OpenSSL writes it": encrypted()[:-16],
    "tag altered": encrypted()[:-1] + bytes((TAG[-1] ^ 1,)),
    "tag cut": encrypted()[:-4],
    "content altered": bytes((encrypted()[0] ^ 1,)) + encrypted()[1:],
    "nothing": b"",
    "less than a tag": bytes(15),
}


@pytest.mark.parametrize("name", UNPROVEN)
def test_without_its_tag_nothing_is_released(name: str, forge: Forge, bob: Person) -> None:
    raw = envelope(forge, gcm_parameters(bytes(12), 16), UNPROVEN[name])
    sink: list[bytes] = []
    with pytest.raises(UnsupportedMessage, match=TEXT):
        open_envelope(BytesContent(raw), _Sink(sink), key_ring(bob))
    assert not sink


@pytest.mark.parametrize(
    "recipient",
    [
        {"key": bytes(32)},
        {"key": bytes(16)},
        {"key": bytes(31)},
        {"encrypted_key": b"\x01" * 256},
        {"rsa_padding": cms.OAEP(), "encrypted_key": b"\x01" * 256},
    ],
    ids=["wrong", "of another size", "of no size", "garbage", "OAEP garbage"],
)
def test_every_fault_of_a_key_says_the_same_as_a_wrong_tag(
    recipient: dict[str, object], forge: Forge, open_as_bob: OpenAsBob
) -> None:
    infos = [forge.recipient(**recipient)]  # type: ignore[arg-type]
    raw = envelope(forge, BARE(bytes(12)), recipients=infos)
    with pytest.raises(UnsupportedMessage, match=TEXT):
        open_as_bob(raw)


DAMAGED: dict[str, tuple[bytes, type[Exception]]] = {
    "missing": (b"", MalformedMessage),
    "NULL": (der.NULL, MalformedMessage),
    "nonce empty": (BARE(b""), MalformedMessage),
    "nonce of 7": (BARE(bytes(7)), UnsupportedMessage),
    "tag of 11": (gcm_parameters(bytes(12), 11), MalformedMessage),
    "tag of 17": (gcm_parameters(bytes(12), 17), MalformedMessage),
    "three times wrapped": (
        der.sequence(der.sequence(gcm_parameters(bytes(12), 16))),
        MalformedMessage,
    ),
    "an empty SEQUENCE": (der.sequence(), MalformedMessage),
    "something behind the tag length": (
        der.sequence(der.octet_string(bytes(12)), der.integer(16), der.NULL),
        MalformedMessage,
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_parameters_have_words_of_their_own(
    name: str, forge: Forge, open_as_bob: OpenAsBob
) -> None:
    parameters, error = DAMAGED[name]
    with pytest.raises(error) as caught:
        open_as_bob(envelope(forge, parameters))
    assert str(caught.value) not in {TEXT, DecryptionFailed.TEXT}


@pytest.mark.parametrize("profile", list(cms.Profile)[:2])
def test_its_recipients_are_not_exchanged(
    profile: cms.Profile, forge: Forge, bob: Person, alice: Person
) -> None:
    source = BytesContent(envelope(forge, gcm_parameters(bytes(12), 16)))
    opening = next(iter(cms.find_openings(source, key_ring(bob))))
    assert "aes-256-gcm, which is not kept" in cms.why_not_rewrapped(opening, profile)
    with pytest.raises(UnsupportedMessage):
        cms.rewrap_envelope(opening, cms.DISCARD, [alice.recipient], profile=profile)


class _Sink:
    def __init__(self, received: list[bytes]) -> None:
        self._received = received

    def write(self, data: bytes, /) -> None:
        self._received.append(data)
