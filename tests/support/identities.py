"""People certified as strangers' programs ask for it, by one authority, and their PKCS#12 files."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.forge import Holder, make_holder

PASSPHRASE = "x"
"""Of every PKCS#12 file: some programs read none without."""
_BEGIN, _END = datetime(2020, 1, 1, tzinfo=UTC), datetime(3020, 1, 1, tzinfo=UTC)
_AUTHORITY_NAME = x509.Name(
    [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example, Inc."),
        x509.NameAttribute(NameOID.COMMON_NAME, "Mail Authority"),
    ]
)
_AGREEING = (ec.EllipticCurvePrivateKey, x25519.X25519PrivateKey, x448.X448PrivateKey)


@cache
def authority() -> tuple[rsa.RSAPrivateKey, x509.Certificate]:
    """The one who signed all of them; the same one in a process."""
    key = rsa.generate_private_key(65537, 2048)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    certificate = (
        x509.CertificateBuilder(_AUTHORITY_NAME, _AUTHORITY_NAME, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def address(person: Holder) -> str:
    """Their certificate names it."""
    return f"{person.label}@example.org"


@cache
def certified(kind: str) -> Holder:
    """The holder of a key of a kind of ``forge.KEYS``; the same one in a process."""
    authority_key, _ = authority()
    person = make_holder(kind, f"certified {kind}")
    purpose = "key_agreement" if isinstance(person.key, _AGREEING) else "key_encipherment"
    person = replace(person, label=kind)
    identifier = x509.SubjectKeyIdentifier(person.subject_key_identifier.value)
    certificate = (
        x509.CertificateBuilder(
            _AUTHORITY_NAME,
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, kind)]),
            person.certificate.public_key(),
        )
        .serial_number(x509.random_serial_number())
        .not_valid_before(_BEGIN)
        .not_valid_after(_END)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(purpose), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name(address(person))]), False)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    return replace(person, certificate=certificate)


def pkcs12_of(person: Holder) -> bytes:
    """With the authority's certificate, encrypted with 3DES and SHA-1, which all programs read."""
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(hashes.SHA1())
        .build(PASSPHRASE.encode())
    )
    assert isinstance(person.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return pkcs12.serialize_key_and_certificates(
        person.label.encode(), person.key, person.certificate, [authority()[1]], encryption
    )


def _usage(*purposes: str) -> x509.KeyUsage:
    names = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: name in purposes for name in names})
