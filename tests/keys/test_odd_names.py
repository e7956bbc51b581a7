"""Recipients that are named as no document allows are found, and it is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sectool.asn1 import der
from sectool.cms import IssuerAndSerialNumber, RecipientIdentifier, SubjectKeyIdentifier
from sectool.keys.certificates import HeldCertificate, public_key_bits, read_certificate
from sectool.keys.history import HeldKey, KeyHistory
from tests.support.forge import Holder, make_holder

AUTHORITY = (("2.5.4.6", 0x13, b"DE"), ("2.5.4.10", 0x0C, b"Works"), ("2.5.4.3", 0x0C, b"Mail CA"))
SERIAL = 0xFEDC


def name(*attributes: tuple[str, int, bytes], in_one_set: bool = False) -> bytes:
    encoded = [der.sequence(der.oid(o), der.element(tag, text)) for o, tag, text in attributes]
    if in_one_set:
        return der.sequence(der.set_of(encoded))
    return der.sequence(*(der.element(0x31, one) for one in encoded))


@pytest.fixture(scope="module")
def holder() -> Holder:
    return make_holder("p-256")


@pytest.fixture(scope="module")
def certificate(holder: Holder) -> HeldCertificate:
    found = read_certificate(holder.certificate.public_bytes(Encoding.DER))
    return replace(found, issuer=name(*AUTHORITY), serial_number=SERIAL)


@pytest.fixture(scope="module")
def history(holder: Holder, certificate: HeldCertificate) -> KeyHistory:
    return KeyHistory([HeldKey(holder.operations, (certificate,), Path("bob"))])


ISSUERS: dict[str, tuple[bytes, bool]] = {
    "as it is": (name(*AUTHORITY), False),
    "other string types and case": (
        name(
            ("2.5.4.6", 0x0C, b"de"),
            ("2.5.4.10", 0x1E, "WORKS".encode("utf-16-be")),
            ("2.5.4.3", 0x13, b" mail  ca"),
        ),
        False,
    ),
    "reversed": (name(*reversed(AUTHORITY)), True),
    "in another order": (name(AUTHORITY[1], AUTHORITY[0], AUTHORITY[2]), True),
    "in one relative name": (name(*AUTHORITY, in_one_set=True), True),
}


@pytest.mark.parametrize("serial", [SERIAL, SERIAL - 0x10000], ids=["serial", "without its zero"])
@pytest.mark.parametrize("form", ISSUERS)
def test_an_issuer_and_serial_number_find_their_key(
    form: str, serial: int, history: KeyHistory
) -> None:
    issuer, is_odd = ISSUERS[form]
    identifier = IssuerAndSerialNumber(issuer, serial)
    assert history.holds(identifier)
    assert bool(history.why_odd(identifier)) == (is_odd or serial != SERIAL)


OTHERS: dict[str, RecipientIdentifier] = {
    "another serial number": IssuerAndSerialNumber(name(*AUTHORITY), SERIAL + 1),
    "another issuer": IssuerAndSerialNumber(name(*AUTHORITY[:2]), SERIAL),
    "a repeated attribute": IssuerAndSerialNumber(name(*AUTHORITY, AUTHORITY[0]), SERIAL),
    "no name": IssuerAndSerialNumber(b"\x30\x03abc", SERIAL),
    "another identifier": SubjectKeyIdentifier(bytes(20)),
    "another wrapped": SubjectKeyIdentifier(der.octet_string(bytes(20))),
    "nothing": SubjectKeyIdentifier(b""),
    "nothing, wrapped": SubjectKeyIdentifier(der.octet_string(b"")),
    "no public key": SubjectKeyIdentifier(der.sequence(der.sequence(), der.integer(1))),
    "an empty SEQUENCE": SubjectKeyIdentifier(der.sequence()),
    "half a SEQUENCE": SubjectKeyIdentifier(b"\x30\x80"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_nobody_else_is_found(other: str, history: KeyHistory) -> None:
    assert not history.holds(OTHERS[other])
    assert not history.why_odd(OTHERS[other])


WRAPS: dict[str, Callable[[HeldCertificate], bytes]] = {
    "once": lambda held: der.octet_string(held.subject_key_identifier or b""),
    "twice": lambda held: der.octet_string(der.octet_string(held.subject_key_identifier or b"")),
    "public key": lambda held: held.public_key_info,
    "public key, wrapped": lambda held: der.octet_string(held.public_key_info),
    "bits": lambda held: public_key_bits(held.public_key_info),
    "BIT STRING": lambda held: der.element(3, b"\0" + public_key_bits(held.public_key_info)),
}


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_key_identifier_in_another_form_finds_its_key(
    wrap: str, certificate: HeldCertificate, history: KeyHistory
) -> None:
    identifier = SubjectKeyIdentifier(WRAPS[wrap](certificate))
    assert history.holds(identifier)
    assert history.why_odd(identifier).startswith("the recipient is named oddly: ")


def test_the_extension_itself_is_not_odd(
    certificate: HeldCertificate, history: KeyHistory, holder: Holder
) -> None:
    extension = holder.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    identifier = SubjectKeyIdentifier(extension.value.digest)
    assert history.holds(identifier)
    assert not history.why_odd(identifier)
    assert not history.why_odd(None)


def test_a_negative_serial_number_of_an_old_authority_is_found_by_its_octets(
    holder: Holder, certificate: HeldCertificate
) -> None:
    negative = replace(certificate, serial_number=-2)
    history = KeyHistory([HeldKey(holder.operations, (negative,), Path("bob"))])
    assert not history.why_odd(IssuerAndSerialNumber(certificate.issuer, -2))
    assert history.why_odd(IssuerAndSerialNumber(certificate.issuer, 0xFE))
    assert not history.holds(IssuerAndSerialNumber(certificate.issuer, 2))
