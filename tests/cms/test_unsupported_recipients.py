"""What no key could open is told from what a key is missing for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from sectool import cms
from sectool.asn1 import der
from sectool.errors import MissingKey, UnsupportedMessage
from tests.support.effort import effort

if TYPE_CHECKING:
    from tests.cms.conftest import Forge, KeyRing

Ring = Callable[..., "KeyRing"]
OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]

KEY = der.octet_string(bytes(40))
AES_WRAP = der.sequence(der.oid("2.16.840.1.101.3.4.1.45"))
AES_WRAP_PAD = der.sequence(der.oid("2.16.840.1.101.3.4.1.48"))
ECDH = "1.3.132.1.11.1"
P_256, SM2 = "1.2.840.10045.3.1.7", "1.2.156.10197.1.301"
EC, DH = "1.2.840.10045.2.1", "1.2.840.10046.2.1"
PBKDF2, SCRYPT = "1.2.840.113549.1.5.12", "1.3.6.1.4.1.11591.4.11"
NAME = der.sequence(der.sequence(), der.integer(7))
"""An identifier that nobody holds a key for."""


def agreement(
    *, scheme: str = ECDH, wrap: bytes = AES_WRAP, kind: str = EC, curve: bytes = b""
) -> bytes:
    point = der.sequence(der.oid(kind), curve) + der.element(3, b"\0" + bytes(65))
    return der.element(
        0xA1,
        der.integer(3)
        + der.explicit(0, der.element(0xA1, point))
        + der.sequence(der.oid(scheme), wrap)
        + der.sequence(der.sequence(NAME, KEY)),
    )


def agreement_by_name(scheme: str) -> bytes:
    originator = der.explicit(0, NAME)
    keys = der.sequence(der.sequence(NAME, KEY))
    algorithm = der.sequence(der.oid(scheme), AES_WRAP)
    return der.element(0xA1, der.integer(3) + originator + algorithm + keys)


def encapsulation(
    kem: str, *, derivation: str = "1.2.840.113549.1.9.16.3.28", wrap: bytes = AES_WRAP
) -> bytes:
    info = der.sequence(
        der.integer(0),
        NAME,
        der.sequence(der.oid(kem)),
        der.octet_string(bytes(1088)),
        der.sequence(der.oid(derivation)),
        der.integer(32),
        wrap,
        KEY,
    )
    return der.element(0xA4, der.oid("1.2.840.113549.1.9.16.13.3") + info)


def transport(oid: str) -> bytes:
    return der.sequence(der.integer(0), NAME, der.sequence(der.oid(oid)), KEY)


def shared_key(wrap: bytes = AES_WRAP) -> bytes:
    return der.element(0xA2, der.integer(4) + der.sequence(der.octet_string(b"l")) + wrap + KEY)


def password(derivation: str = PBKDF2, wrap: bytes | None = None) -> bytes:
    parameters = der.sequence(der.octet_string(b"salt"), der.integer(1000))
    inner = der.sequence(der.oid("2.16.840.1.101.3.4.1.42"), der.octet_string(bytes(16)))
    cipher = der.sequence(der.oid("1.2.840.113549.1.9.16.3.9"), inner)
    derived = der.element(0xA0, der.oid(derivation) + parameters)
    return der.element(0xA3, der.integer(0) + derived + (wrap or cipher) + KEY)


@dataclass(frozen=True)
class Kind:
    """A recipient that no key can serve, and what a person is told of it."""

    recipient: bytes
    reason: str


UNSUPPORTED = {
    "other": Kind(der.element(0xA4, der.oid("1.2.3.4") + der.NULL), "kind 1.2.3.4"),
    "choice nobody knows": Kind(der.element(0xA7, b"\xff\xff"), "unknown kind"),
    "key transport with RSA-KEM": Kind(transport("1.2.840.113549.1.9.16.3.14"), "rsa-kem"),
    "ml-kem-512": Kind(encapsulation("2.16.840.1.101.3.4.4.1"), "ml-kem-512"),
    "ml-kem-768 with a derivation nobody knows": Kind(
        encapsulation("2.16.840.1.101.3.4.4.2", derivation="1.2.3"), "key derivation 1.2.3"
    ),
    "ml-kem-768 with another wrap": Kind(
        encapsulation("2.16.840.1.101.3.4.4.2", wrap=AES_WRAP_PAD), "aes-256-wrap-pad"
    ),
    "agreement by finite fields": Kind(agreement(scheme="1.2.840.113549.1.9.16.3.5"), "dh-ess"),
    "agreement by ECMQV": Kind(agreement(scheme="1.3.132.1.15.1"), "ecmqv-sha256kdf"),
    "agreement by ECMQV with a named sender": Kind(
        agreement_by_name("1.3.132.1.15.1"), "ecmqv-sha256kdf"
    ),
    "agreement with another wrap": Kind(agreement(wrap=AES_WRAP_PAD), "aes-256-wrap-pad"),
    "agreement with another kind of key": Kind(agreement(kind=DH), DH),
    "agreement on another curve": Kind(agreement(curve=der.oid(SM2)), f"curve {SM2}"),
    "shared key with another wrap": Kind(shared_key(AES_WRAP_PAD), "aes-256-wrap-pad"),
    "password by scrypt": Kind(password(SCRYPT), f"key derivation {SCRYPT}"),
    "password with another wrap": Kind(password(wrap=AES_WRAP), "aes-256-wrap"),
}

MISSING = {
    "key transport": transport("1.2.840.113549.1.1.1"),
    "ml-kem-768": encapsulation("2.16.840.1.101.3.4.4.2"),
    "agreement": agreement(),
    "agreement on P-256": agreement(curve=der.oid(P_256)),
    "agreement with a curve of NULL": agreement(curve=der.NULL),
    "agreement with a named sender": agreement_by_name(ECDH),
    "shared key": shared_key(),
    "password": password(),
    "damaged parameters": der.sequence(
        der.integer(0), NAME, der.sequence(der.oid("1.2.840.113549.1.1.7"), der.NULL), KEY
    ),
}


@pytest.mark.parametrize("kind", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_recipients_that_no_key_could_serve_are_unsupported_and_named(
    kind: Kind, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    with pytest.raises(UnsupportedMessage) as caught:
        open_bytes(forge.cbc(recipients=[kind.recipient]), ring())
    assert kind.reason in caught.value.message


@pytest.mark.parametrize("recipient", MISSING.values(), ids=MISSING)
def test_recipients_that_a_key_could_serve_are_missing_it(
    recipient: bytes, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    with pytest.raises(MissingKey):
        open_bytes(forge.cbc(recipients=[recipient]), ring())


@pytest.mark.parametrize("kind", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_a_recipient_of_ours_opens_beside_one_that_no_key_could_serve(
    kind: Kind, forge: Forge, open_as_bob: OpenBytes
) -> None:
    raw = forge.gcm(recipients=[kind.recipient, forge.recipient(), kind.recipient])
    assert open_as_bob(raw)[1]


def test_a_missing_key_is_told_before_what_no_key_could_serve(
    forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    kinds = [kind.recipient for kind in UNSUPPORTED.values()]
    with pytest.raises(MissingKey) as caught:
        open_bytes(forge.cbc(recipients=[*kinds[:2], forge.recipient(), kinds[1]]), ring())
    text = caught.value.message
    assert text.startswith("no key for any recipient: issuer CN=bob")
    assert text.endswith(
        "; and 3 besides: recipients of kind 1.2.3.4 are not supported; "
        "recipients of unknown kind are not supported"
    )


def test_many_kinds_that_no_key_could_serve_are_told_in_short(
    forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    kinds = [der.element(0xA4, der.oid(f"1.2.3.{arc}") + der.NULL) for arc in range(9)]
    with pytest.raises(UnsupportedMessage) as caught:
        open_bytes(forge.cbc(recipients=kinds), ring())
    assert caught.value.message.endswith("kind 1.2.3.2 are not supported; 6 more")


@pytest.mark.parametrize("name", ["key transport with RSA-KEM", "agreement on another curve"])
def test_ten_thousand_of_them_are_little_work(
    name: str, forge: Forge, ring: Ring, open_bytes: OpenBytes
) -> None:
    raw = forge.cbc(recipients=[UNSUPPORTED[name].recipient] * 10_000)

    def open_it() -> None:
        with pytest.raises(UnsupportedMessage):
            open_bytes(raw, ring())

    assert effort(open_it) < 100
