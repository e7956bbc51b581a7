"""Why a message does not open: what lies open has its own words, what a key decides has one text.

Structure, encoding, parameters and lengths are public and are judged before any key is
used. Key, padding, tag and the length of an unwrapped key must look the same, or a sender
of many messages could learn the content from the answers (Bleichenbacher, Vaudenay).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

from sectool import cms
from sectool.asn1 import der
from sectool.cms import oids
from sectool.errors import DecryptionFailed, MessageError
from sectool.keys.private_keys import SoftwareKey
from sectool.message import BytesContent
from tests.cms.conftest import CONTENT, Forge, Person
from tests.support.agreements import Agreement
from tests.support.forge import Holder, KeyRing, make_holder
from tests.support.opening import open_envelope

Make = Callable[[Forge], bytes]
CURVE = "p-256"


def cbc(algorithm_parameters: bytes) -> bytes:
    return der.sequence(der.oid(oids.AES_256_CBC), algorithm_parameters)


OPEN_TO_ALL: dict[str, tuple[Make, str]] = {
    "no bytes": (lambda forge: b"", "the structure ends too soon"),
    "cut short": (lambda forge: forge.cbc()[:-1], "the structure ends too soon"),
    "no recipients": (lambda forge: forge.cbc(recipients=[]), "the message names no recipients"),
    "content detached": (
        lambda forge: forge.cbc(field=b""),
        "the encrypted content is detached or absent",
    ),
    "content empty": (
        lambda forge: forge.cbc(encrypted=b""),
        "the encrypted content is empty",
    ),
    "no whole blocks": (
        lambda forge: forge.cbc(encrypted=bytes(33)),
        "33 bytes of encrypted content are not whole cipher blocks",
    ),
    "vector of another length": (
        lambda forge: forge.cbc(iv=bytes(12)),
        "the initialization vector has 12 bytes instead of 16",
    ),
    "parameters missing": (
        lambda forge: forge.cbc(algorithm=cbc(b"")),
        "the parameters of the content encryption are missing",
    ),
    "parameters NULL": (
        lambda forge: forge.cbc(algorithm=cbc(der.NULL)),
        "the initialization vector is not where it belongs (found tag 0x05)",
    ),
    "content encryption unknown": (
        lambda forge: forge.cbc(algorithm=der.sequence(der.oid("1.2.3.4"))),
        "content encryption 1.2.3.4 is not supported",
    ),
    "CBC where a tag is": (
        lambda forge: forge.cbc(
            content_type=oids.AUTH_ENVELOPED_DATA, after=der.octet_string(bytes(16))
        ),
        "content encryption aes-256-cbc has no place in auth-enveloped-data",
    ),
    "tag of another length": (
        lambda forge: forge.gcm(tag=lambda tag: tag[:7]),
        "an authentication tag of 7 bytes is wrong here",
    ),
    "GCM nonce empty": (lambda forge: forge.gcm(nonce=b""), "the GCM nonce is empty"),
    "encryptedKey longer than the modulus": (
        lambda forge: forge.cbc(recipients=[forge.recipient(encrypted_key=bytes(257))]),
        "encryptedKey has 257 bytes; the key that its recipient names takes 256",
    ),
    "encryptedKey of half a modulus": (
        lambda forge: forge.cbc(recipients=[forge.recipient(encrypted_key=bytes(128))]),
        "encryptedKey has 128 bytes; the key that its recipient names takes 256",
    ),
    "encryptedKey empty": (
        lambda forge: forge.cbc(recipients=[forge.recipient(encrypted_key=b"")]),
        "encryptedKey has 0 bytes; the key that its recipient names takes 256",
    ),
    "rsaEncryption with parameters": (
        lambda forge: forge.cbc(
            recipients=[
                forge.recipient(
                    algorithm=der.sequence(der.oid(oids.RSA_ENCRYPTION), der.integer(1))
                )
            ]
        ),
        "rsaEncryption has parameters where none belong",
    ),
    "key encryption unknown": (
        lambda forge: forge.cbc(
            recipients=[forge.recipient(algorithm=der.sequence(der.oid("1.2.3.4")))]
        ),
        "key encryption 1.2.3.4 is not supported",
    ),
    "wrapped key of odd length": (
        lambda forge: to_curve(forge, Agreement(alter_key=lambda key: key[:-1])),
        "encryptedKey has 39 bytes, which aes-256-wrap never gives",
    ),
}
FOR_THE_KEY_TO_SAY: dict[str, Make] = {
    "wrong key": lambda forge: forge.cbc(recipients=[forge.recipient(encrypted_key=b"\1" * 256)]),
    "OAEP that does not fit": lambda forge: forge.cbc(
        recipients=[forge.recipient(rsa_padding=cms.OAEP(), encrypted_key=b"\1" * 256)]
    ),
    "content key of no length": lambda forge: forge.cbc(
        recipients=[forge.recipient(key=bytes(31))]
    ),
    "content key of another length": lambda forge: forge.cbc(
        recipients=[forge.recipient(key=bytes(16))]
    ),
    "OAEP, content key of another length": lambda forge: forge.cbc(
        recipients=[forge.recipient(key=bytes(16), rsa_padding=cms.OAEP())]
    ),
    "padding of zero": lambda forge: forge.cbc(padded=bytes(16)),
    "padding too long": lambda forge: forge.cbc(padded=bytes(15) + b"\x11"),
    "padding not whole": lambda forge: forge.cbc(padded=bytes(14) + b"\1\2"),
    "tag altered": lambda forge: forge.gcm(tag=lambda tag: tag[:-1] + bytes((tag[-1] ^ 1,))),
    "wrapped key altered": lambda forge: to_curve(
        forge, Agreement(alter_key=lambda key: key[:-1] + bytes((key[-1] ^ 1,)))
    ),
    "wrapped key of another length": lambda forge: to_curve(
        forge, Agreement(alter_key=lambda key: key[:-8])
    ),
    "point off the curve": lambda forge: to_curve(
        forge, Agreement(alter_point=lambda point: point[:-1] + bytes((point[-1] ^ 1,)))
    ),
}


def someone() -> Holder:
    return make_holder(CURVE)


def to_curve(forge: Forge, agreement: Agreement) -> bytes:
    return forge.cbc(recipients=[agreement.make(someone())])


@dataclass
class CountingKeys:
    """Both keys, and how often a private key was used."""

    ring: KeyRing
    used: int = 0

    def find(self, identifier: cms.RecipientIdentifier) -> Sequence[cms.KeyOperations]:
        return [_Counted(key, self) for key in self.ring.find(identifier)]


@dataclass
class _Counted:
    """Software keys that count those operations that had a ciphertext of a right length."""

    key: cms.KeyOperations
    keys: CountingKeys
    label: str = "counted"

    def decrypt_rsa(self, encrypted_key: bytes, padding: cms.RSAPadding) -> bytes:
        self.keys.used += len(encrypted_key) == 256
        return self.key.decrypt_rsa(encrypted_key, padding)

    def agree(self, public_key: bytes) -> bytes:
        self.keys.used += 1
        return self.key.agree(public_key)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        self.keys.used += 1
        return self.key.decapsulate(ciphertext)


@pytest.fixture
def keys(bob: Person) -> CountingKeys:
    ring = KeyRing()
    ring.add(bob.recipient.identifier, SoftwareKey(bob.key, "bob"))
    ring.add(someone().recipient.identifier, someone().operations)
    return CountingKeys(ring)


def refusal(raw: bytes, keys: cms.KeySource) -> str:
    sink = io.BytesIO()
    with pytest.raises(MessageError) as caught:
        open_envelope(BytesContent(raw), sink, keys)
    assert not sink.getvalue()
    return str(caught.value)


@pytest.mark.parametrize("name", OPEN_TO_ALL)
def test_what_lies_open_has_its_own_words_before_any_key_is_used(
    name: str, forge: Forge, keys: CountingKeys
) -> None:
    make, words = OPEN_TO_ALL[name]
    assert refusal(make(forge), keys) == words
    assert not keys.used


def test_no_two_of_these_reasons_are_the_same() -> None:
    words = [words for name, (_, words) in OPEN_TO_ALL.items() if name != "no bytes"]
    assert len(set(words)) == len(words)
    assert DecryptionFailed.TEXT not in words


@pytest.mark.parametrize("name", FOR_THE_KEY_TO_SAY)
def test_what_a_key_decides_has_one_text(name: str, forge: Forge, keys: CountingKeys) -> None:
    assert refusal(FOR_THE_KEY_TO_SAY[name](forge), keys) == DecryptionFailed.TEXT
    assert keys.used == 1


def test_the_same_envelope_opens_where_nothing_is_wrong(forge: Forge, keys: CountingKeys) -> None:
    """Otherwise the tables would say nothing."""
    for raw in (forge.cbc(), forge.gcm(), to_curve(forge, Agreement())):
        sink = io.BytesIO()
        open_envelope(BytesContent(raw), sink, keys)
        assert sink.getvalue() == CONTENT
