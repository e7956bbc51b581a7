"""AlgorithmIdentifier and RecipientIdentifier, read and written (RFC 5652 section 10)."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from sectool.asn1 import der, tags
from sectool.cms import oids
from sectool.cms.names import display_name
from sectool.cms.reader import CMSReader
from sectool.cms.seams import (
    IssuerAndSerialNumber,
    PKCS1v15,
    RecipientIdentifier,
    RSAPadding,
    SubjectKeyIdentifier,
)
from sectool.errors import LimitExceeded, MalformedMessage, UnsupportedMessage
from sectool.outcome import RecipientKey
from sectool.remembering import remembering
from sectool.values import dataclass

HASH_NAMES = {
    oids.SHA1: "sha1",
    oids.SHA224: "sha224",
    oids.SHA256: "sha256",
    oids.SHA384: "sha384",
    oids.SHA512: "sha512",
}
"""As ``hashlib`` spells them."""

HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def padding_of(asked: RSAPadding) -> padding.AsymmetricPadding:
    """A padding of RSA as the library that computes it takes it."""
    if isinstance(asked, PKCS1v15):
        return padding.PKCS1v15()
    return padding.OAEP(
        mgf=padding.MGF1(HASHES[asked.mgf_hash_name]()),
        algorithm=HASHES[asked.hash_name](),
        label=asked.label or None,
    )


@dataclass(frozen=True, slots=True)
class AlgorithmIdentifier:
    """RFC 5280 section 4.1.1.2."""

    oid: str
    """Dotted form."""
    parameters: bytes | None = None
    """The parameters as encoded; None: absent."""

    def encode(self) -> bytes:
        """DER, if the parameters are."""
        return der.sequence(der.oid(self.oid), self.parameters or b"")


def read_algorithm_identifier(
    reader: CMSReader, what: str, *, tag: int = tags.SEQUENCE
) -> AlgorithmIdentifier:
    """Reads an AlgorithmIdentifier, also under an implicit tag."""
    reader.enter(tag, what)
    oid = reader.read_oid(what)
    parameters = None
    if reader.peek() is not None:
        parameters = reader.read_raw(f"parameters of {what}", reader.limits.parameters_size)
    reader.leave(what)
    return AlgorithmIdentifier(oid, parameters)


def require_null_or_absent(algorithm: AlgorithmIdentifier, what: str) -> None:
    """Refuses parameters where the algorithm has none; writers differ on NULL and absence."""
    if algorithm.parameters not in {None, der.NULL}:
        raise MalformedMessage(f"{what} has parameters where none belong")


_HASH_OIDS = {name: oid for oid, name in HASH_NAMES.items()}


def hash_name(algorithm: AlgorithmIdentifier, what: str) -> str:
    """The name of a hash function, as ``hashlib`` spells it (RFC 4055 section 2.1)."""
    name = HASH_NAMES.get(algorithm.oid)
    if name is None:
        raise UnsupportedMessage(f"hash function {algorithm.oid} in {what} is not supported")
    require_null_or_absent(algorithm, what)
    return name


def hash_algorithm(name: str) -> AlgorithmIdentifier:
    """The AlgorithmIdentifier of a hash, with the NULL that RFC 4055 section 2.1 asks for."""
    return AlgorithmIdentifier(_HASH_OIDS[name], der.NULL)


def read_issuer_and_serial_number(reader: CMSReader) -> IssuerAndSerialNumber | None:
    """RFC 5652 section 10.2.4; None where the name is longer than is kept."""
    what = "issuerAndSerialNumber"
    reader.enter(tags.SEQUENCE, what)
    if not reader.at(tags.SEQUENCE):
        raise MalformedMessage("the issuer of a recipient is not a name")
    issuer = reader.read_raw_or_skip("the issuer of a recipient", reader.limits.name_size)
    serial_number = reader.read_integer("the serial number of a recipient")
    reader.leave(what)
    return None if issuer is None else IssuerAndSerialNumber(issuer, serial_number)


def read_recipient_identifier(reader: CMSReader) -> RecipientIdentifier | None:
    """RecipientIdentifier (RFC 5652 section 6.2.1); None: its name is longer than is kept."""
    tag = tags.context(0)
    if reader.at(tag):
        limit = reader.limits.identifier_size
        return SubjectKeyIdentifier(
            reader.read_octet_string("subjectKeyIdentifier", limit, tag=tag)
        )
    return read_issuer_and_serial_number(reader)


def require_identifier(identifier: RecipientIdentifier | None, what: str) -> RecipientIdentifier:
    """Refuses a name that is longer than is kept.

    Raises:
        LimitExceeded: it was.
    """
    if identifier is None:
        raise LimitExceeded(f"the issuer that names {what} is too long")
    return identifier


def encode_recipient_identifier(identifier: RecipientIdentifier) -> bytes:
    """DER of a RecipientIdentifier."""
    if isinstance(identifier, SubjectKeyIdentifier):
        return der.element(tags.context(0), identifier.value)
    return der.sequence(identifier.issuer, der.integer(identifier.serial_number))


def display_identifier(identifier: RecipientIdentifier) -> str:
    """One line for a person, of bounded length and without control characters."""
    if isinstance(identifier, SubjectKeyIdentifier):
        return f"subject key identifier {identifier.value.hex()[:64]}"
    issuer = display_name(identifier.issuer)
    shown = issuer if len(issuer) <= 160 else issuer[:157] + "..."
    return f"issuer {shown}, serial number {serial_hex(identifier.serial_number)[:80]}"


def recipient_of(identifier: RecipientIdentifier) -> RecipientKey:
    """A recipient as reports and the job log name it."""
    if isinstance(identifier, SubjectKeyIdentifier):
        return RecipientKey("", "", identifier.value.hex())
    return _named_by_issuer(identifier.issuer, identifier.serial_number)


@remembering
def _named_by_issuer(issuer: bytes, serial_number: int) -> RecipientKey:
    return RecipientKey(display_name(issuer), serial_hex(serial_number), "")


def serial_hex(serial_number: int) -> str:
    """A serial number in lower-case hexadecimal, whole octets, as certificate viewers show it."""
    digits = f"{abs(serial_number):x}"
    sign = "-" if serial_number < 0 else ""
    return sign + "0" * (len(digits) % 2) + digits
