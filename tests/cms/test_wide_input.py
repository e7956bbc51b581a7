"""Damage and wrong keys, for every kind of recipient and cipher: only our errors, no garbage."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from sectool import cms
from sectool.asn1 import der
from sectool.budget import MESSAGE, Budget, Work, spending
from sectool.cms import oids
from sectool.errors import DecryptionFailed, MalformedMessage, MessageError
from sectool.message import BytesContent
from tests.support.opening import open_envelope

if TYPE_CHECKING:
    from tests.cms.conftest import Forge, Holder, KeyRing

Ring = Callable[..., "KeyRing"]
HolderOf = Callable[..., "Holder"]
Seal = Callable[..., tuple[bytes, cms.Sealed]]

CONTENT = b"Content-Type: text/plain\r\n\r\nThe plans are in the blue folder.\r\n"
SECRETS = cms.SharedSecrets({b"list": bytes(32)}, (b"word",))
SEALED = {
    "p-256 cbc": ("p-256", cms.Profile.COMPATIBLE),
    "p-384 gcm": ("p-384", cms.Profile.MODERN),
    "x25519 gcm": ("x25519", cms.Profile.MODERN),
    "ml-kem-768 gcm": ("ml-kem-768", cms.Profile.POST_QUANTUM),
}
FORGED = {
    "shared key": der.element(
        0xA2,
        der.integer(4)
        + der.sequence(der.octet_string(b"list"))
        + der.sequence(der.oid(oids.AES_256_WRAP))
        + der.octet_string(bytes(40)),
    ),
    "password": der.element(
        0xA3,
        der.integer(0)
        + der.element(
            0xA0,
            der.oid(oids.PBKDF2) + der.sequence(der.octet_string(b"salt"), der.integer(2)),
        )
        + der.sequence(
            der.oid(oids.PWRI_KEK),
            der.sequence(der.oid(oids.AES_256_CBC), der.octet_string(bytes(16))),
        )
        + der.octet_string(bytes(48)),
    ),
}
ALGORITHMS = {
    "rc2-cbc": (oids.RC2_CBC, der.sequence(der.integer(160), der.octet_string(bytes(8)))),
    "cast5-cbc": (oids.CAST5_CBC, der.sequence(der.octet_string(bytes(8)), der.integer(128))),
    "idea-cbc": (oids.IDEA_CBC, der.sequence(der.octet_string(bytes(8)))),
    "aes-256-ccm": (oids.AES_256_CCM, der.sequence(der.octet_string(bytes(12)), der.integer(16))),
    "chacha20-poly1305": (oids.CHACHA20_POLY1305, der.octet_string(bytes(12))),
    "cek-hkdf-sha256": (
        oids.CEK_HKDF_SHA256,
        der.sequence(der.oid(oids.AES_256_CBC), der.octet_string(bytes(16))),
    ),
}


@pytest.fixture(scope="session")
def messages(
    holder: HolderOf, forge: Forge, bob: Holder, ring: Ring, seal_bytes: Seal
) -> dict[str, tuple[bytes, KeyRing]]:
    """One message of each kind, with the keys that its recipients name."""
    found: dict[str, tuple[bytes, KeyRing]] = {}
    for name, (kind, profile) in SEALED.items():
        raw, _ = seal_bytes(CONTENT, holder(kind), profile=profile)
        found[name] = (raw, ring(holder(kind)))
    for name, recipient in FORGED.items():
        found[name] = (forge.cbc(recipients=[recipient]), ring())
    for name, (oid, parameters) in ALGORITHMS.items():
        is_aead = name in {"aes-256-ccm", "chacha20-poly1305"}
        raw = forge.cbc(
            algorithm=der.sequence(der.oid(oid), parameters),
            content_type=oids.AUTH_ENVELOPED_DATA if is_aead else oids.ENVELOPED_DATA,
            after=der.octet_string(bytes(16)) if is_aead else b"",
        )
        found[name] = (raw, ring(bob))
    return found


def open_message(raw: bytes, keys: KeyRing) -> None:
    with spending(Budget({**MESSAGE, Work.DERIVATION: 1_000})):
        open_envelope(BytesContent(raw), io.BytesIO(), keys, secrets=SECRETS)


@given(
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=3)
)
@pytest.mark.parametrize("name", [*SEALED, *FORGED, *ALGORITHMS])
def test_altered_bytes_raise_only_errors_of_ours(
    name: str, flips: list[tuple[int, int]], messages: dict[str, tuple[bytes, KeyRing]]
) -> None:
    raw, keys = messages[name]
    altered = bytearray(raw)
    for position, octet in flips:
        altered[position % len(altered)] = octet
    with suppress(MessageError):
        open_message(bytes(altered), keys)


@pytest.mark.parametrize("name", [*SEALED, *FORGED, *ALGORITHMS])
def test_a_message_cut_at_any_byte_is_malformed(
    name: str, messages: dict[str, tuple[bytes, KeyRing]]
) -> None:
    raw, keys = messages[name]
    for length in range(0, len(raw), 3):
        with pytest.raises(MalformedMessage):
            open_message(raw[:length], keys)


@given(parameters=st.binary(max_size=60))
@pytest.mark.parametrize("name", ALGORITHMS)
def test_any_parameters_raise_only_errors_of_ours(
    name: str, parameters: bytes, forge: Forge, bob: Holder, ring: Ring
) -> None:
    oid, _ = ALGORITHMS[name]
    for wrapped in (parameters, der.octet_string(parameters), der.element(0x30, parameters)):
        algorithm = der.sequence(der.oid(oid), wrapped)
        with suppress(MessageError):
            open_message(forge.cbc(algorithm=algorithm), ring(bob))


WRONG_KEYS = 2500


@pytest.mark.parametrize(
    "name",
    [
        name if not n else pytest.param(name, marks=pytest.mark.all_only)
        for n, name in enumerate(SEALED)
    ],
)
def test_ten_thousand_wrong_keys_open_nothing(
    name: str, messages: dict[str, tuple[bytes, KeyRing]]
) -> None:
    """B23: a key that gives another secret each time stands under the right identifier."""
    raw, keys = messages[name]
    source = random.Random(11)

    class WrongKey:
        label = "wrong"

        def decrypt_rsa(self, encrypted_key: bytes, padding: cms.RSAPadding) -> bytes:
            raise AssertionError

        def agree(self, public_key: bytes) -> bytes:
            return source.randbytes(32)

        def decapsulate(self, ciphertext: bytes) -> bytes:
            return source.randbytes(32)

    (identifier, *_) = keys.keys
    wrong = type(keys)().add(identifier, WrongKey())
    for _ in range(WRONG_KEYS):
        with pytest.raises(DecryptionFailed):
            open_message(raw, wrong)
