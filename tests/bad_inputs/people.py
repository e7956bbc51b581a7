"""Who the mail of the vectors is for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.forge import Forge, Holder, KeyRing, Person, key_ring, make_holder, make_person


@dataclass(frozen=True)
class Forger(Forge):
    """Forges for Bob, who held two keys under one name and has one on a curve as well."""

    twin: Person
    """Bob's other key: issuer, serial number and subject key identifier are those of the first."""
    curve: Holder
    stranger: Person
    """Whose key nobody here holds."""

    def keys(self) -> KeyRing:
        """All that Bob holds."""
        ring = key_ring(self.person, self.curve)
        for found in (self.person.recipient.identifier, self.person.subject_key_identifier):
            ring.add(found, self.twin)
        return ring

    def write_keys(self, directory: Path) -> None:
        """Bob's key files."""
        for name, holder in (("bob", self.person), ("twin", self.twin), ("curve", self.curve)):
            (directory / f"{name}.pem").write_bytes(holder.pem())


def _twin_of(person: Person) -> Person:
    key = rsa.generate_private_key(65537, 2048)
    certificate = person.certificate
    identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    twin = (
        x509.CertificateBuilder(certificate.issuer, certificate.subject, key.public_key())
        .serial_number(certificate.serial_number)
        .not_valid_before(certificate.not_valid_before_utc)
        .not_valid_after(certificate.not_valid_after_utc)
        .add_extension(identifier.value, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Person("twin", key, twin)


@cache
def make_forger() -> Forger:
    """The same people throughout a test run."""
    bob = make_person("bob")
    return Forger(bob, _twin_of(bob), make_holder("p-256", "bob"), make_person("stranger"))
