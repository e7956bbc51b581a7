"""Who is in the sample mailbox: authorities, certificates and the files their keys lie in."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PASSPHRASE = "sample"  # it guards nothing


@dataclass(frozen=True)
class Identity:
    """One certificate with its private key, while the script runs."""

    name: str
    address: str
    role: str
    file: str
    """Where it lies, below ``keys/``."""
    certificate: x509.Certificate
    private_key: rsa.RSAPrivateKey

    @property
    def subject_key_identifier(self) -> bytes:
        extension = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return extension.value.digest

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def private_key_pem(self, encryption: KeySerializationEncryption | None = None) -> bytes:
        return self.private_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()
        )

    def write_working_files(self, directory: Path) -> None:
        (directory / f"{self.name}.pem").write_bytes(self.certificate_pem)
        (directory / f"{self.name}.key").write_bytes(self.private_key_pem())


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the sample."""

    identity: Identity

    def issue(
        self, name: str, common_name: str, address: str, *, role: str, file: str, serial: int,
        valid: tuple[str, str], bits: int = 2048,
    ) -> Identity:  # fmt: skip
        """A certificate for mail, as an authority would issue it."""
        key = rsa.generate_private_key(65537, bits)
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Organisation"),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )
        issuer = self.identity.certificate
        builder = _builder(key, subject, issuer.subject, serial, valid)
        extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (_usage(for_certificates=False), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False),
            (x509.SubjectAlternativeName([x509.RFC822Name(address)]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False),
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        certificate = builder.sign(self.identity.private_key, hashes.SHA256())
        return Identity(name, address, role, file, certificate, key)


def make_authority(name: str, common_name: str, serial: int, valid: tuple[str, str]) -> Authority:
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "ZZ"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
    builder = _builder(key, subject, subject, serial, valid)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(for_certificates=True), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    return Authority(Identity(name, "", "ca", f"ca/{name}.pem", certificate, key))


def _builder(
    key: rsa.RSAPrivateKey,
    subject: x509.Name,
    issuer: x509.Name,
    serial: int,
    valid: tuple[str, str],
) -> x509.CertificateBuilder:
    begin, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in valid)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, for_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not for_certificates,
        content_commitment=False,
        key_encipherment=not for_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=for_certificates,
        crl_sign=for_certificates,
        encipher_only=False,
        decipher_only=False,
    )


class Cast:
    """Everybody, by name."""

    def __init__(self) -> None:
        first = make_authority(
            "example-mail-ca-2005", "Example Mail CA", 1, ("2005-01-01", "3005-01-01")
        )
        second = make_authority(
            "example-mail-ca-2011", "Example Mail CA G2", 2, ("2008-01-01", "3008-01-01")
        )
        third = make_authority(
            "example-mail-ca-2025", "Example Trust Services", 3, ("2025-01-01", "3025-01-01")
        )
        foreign = make_authority(
            "foreign-ca", "Beispiel-Vertrauensdienst Süd", 4, ("2005-01-01", "3005-01-01")
        )
        self.authorities = [first, second, third, foreign]
        owner, pair = "owner@example.org", "old/owner-2005-2008.p12"
        self.history = [
            first.issue("owner-2005", "Head Office 2005", owner, role="old", file=pair,
                        serial=0x2005, valid=("2005-03-01", "2009-03-01"), bits=1024),
            second.issue("owner-2008", "Head Office 2008", owner, role="old", file=pair,
                         serial=0x9C2008, valid=("2008-11-01", "2011-11-01")),
            second.issue("owner-2011", "Head Office", owner, role="old", file="old/owner-2011.pem",
                         serial=0x7E0020110C5D4F8811AA02, valid=("2011-10-01", "3011-10-01")),
        ]  # fmt: skip
        self.new = third.issue("owner-new", "Head Office", owner, role="new",
                               file="new/owner-new.pem", serial=0x2025,
                               valid=("2025-01-01", "3025-01-01"), bits=3072)  # fmt: skip
        self.stranger = foreign.issue("stranger", "Somebody Else", "stranger@example.com",
                                      role="stranger", file="stranger.pem", serial=77,
                                      valid=("2006-01-01", "3006-01-01"))  # fmt: skip
        self.senders = [
            second.issue(name, title, f"{name}@example.{domain}", role="sender",
                         file=f"senders/{name}.pem", serial=0x5000 + number,
                         valid=("2008-01-01", "3008-01-01"))
            for number, (name, title, domain) in enumerate(
                [("workshop", "Workshop", "org"), ("accounts", "Accounts", "org"),
                 ("library", "Library desk", "org"), ("facilities", "Facilities", "com")])
        ]  # fmt: skip

    def __iter__(self) -> Iterator[Identity]:
        yield from (*self.history, self.new, self.stranger, *self.senders)
        yield from (authority.identity for authority in self.authorities)

    def __getitem__(self, name: str) -> Identity:
        return next(identity for identity in self if identity.name == name)


def write_key_files(cast: Cast, keys: Path, scratch: Path) -> None:
    """The files under ``keys/``; the private keys of all others are forgotten."""
    for identity in cast:
        path = keys / identity.file
        path.parent.mkdir(parents=True, exist_ok=True)
        if identity.role != "old":
            path.write_bytes(identity.certificate_pem)
    _write_pair(cast.history[:2], keys / cast.history[0].file, scratch)
    last = cast.history[2]
    encrypted = last.private_key_pem(BestAvailableEncryption(PASSPHRASE.encode()))
    (keys / last.file).write_bytes(encrypted + last.certificate_pem)
    (keys / "new/owner-new.key").write_bytes(cast.new.private_key_pem())
    (keys / "passphrase.txt").write_text(f"{PASSPHRASE}\n")
    names = dict.fromkeys(Path(identity.file).name for identity in cast.history)
    (keys / "passphrases.csv").write_text("".join(f"{name},{PASSPHRASE}\n" for name in names))


def _write_pair(pair: list[Identity], target: Path, scratch: Path) -> None:
    """Two keys in one PKCS#12: the openssl command cannot write that, keytool can."""
    target.unlink(missing_ok=True)
    for identity in pair:
        single = scratch / f"{identity.name}.p12"
        single.write_bytes(
            pkcs12.serialize_key_and_certificates(
                identity.name.encode(),
                identity.private_key,
                identity.certificate,
                None,
                BestAvailableEncryption(PASSPHRASE.encode()),
            )
        )
        subprocess.run(
            ["keytool", "-importkeystore", "-noprompt",
             "-srckeystore", single, "-srcstoretype", "PKCS12", "-srcstorepass", PASSPHRASE,
             "-destkeystore", target, "-deststoretype", "PKCS12", "-deststorepass", PASSPHRASE],
            check=True, capture_output=True,
        )  # fmt: skip
