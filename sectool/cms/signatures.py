"""Verifies the signers of a SignedData, streaming (RFC 5652 section 5).

It answers whose key signed the content. Whether anybody should believe that
certificate, it refuses to know: no chain, no date and no revocation is looked at.
"""

from __future__ import annotations

import hashlib
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import (
    dsa,
    ec,
    ed448,
    ed25519,
    mldsa,
    padding,
    rsa,
    utils,
)

from sectool.asn1 import der, tags
from sectool.budget import Work, current
from sectool.cms import oids
from sectool.cms.identifiers import (
    HASHES,
    AlgorithmIdentifier,
    hash_name,
    read_algorithm_identifier,
    read_recipient_identifier,
    require_identifier,
)
from sectool.cms.key_transport import mgf1_hash
from sectool.cms.limits import DEFAULT_LIMITS, Limits
from sectool.cms.names import PARSER_ERRORS
from sectool.cms.reader import CMSReader
from sectool.cms.seams import IssuerAndSerialNumber, RecipientIdentifier, Source
from sectool.errors import (
    BudgetExceeded,
    LimitExceeded,
    MalformedMessage,
    MessageError,
    UnsupportedMessage,
)
from sectool.values import dataclass

Digests = dict[str, frozenset[bytes]]
"""By the name of a hash function: the digests of the content that are right. Several,
where the content may have been signed in one of several forms."""


_LONGEST_EXPONENT = 64
"""Bits of the public exponent of RSA; a longer one makes a verification as slow as a signature."""

_SIGNATURE_HASHES = {
    **dict.fromkeys((oids.SHA1_WITH_RSA, oids.ECDSA_SHA1, oids.DSA_SHA1), "sha1"),
    **dict.fromkeys((oids.SHA224_WITH_RSA, oids.ECDSA_SHA224, oids.DSA_SHA224), "sha224"),
    **dict.fromkeys((oids.SHA256_WITH_RSA, oids.ECDSA_SHA256, oids.DSA_SHA256), "sha256"),
    **dict.fromkeys((oids.SHA384_WITH_RSA, oids.ECDSA_SHA384), "sha384"),
    **dict.fromkeys((oids.SHA512_WITH_RSA, oids.ECDSA_SHA512), "sha512"),
}
"""Signature algorithms that name their hash; the others take that of the digest."""


@dataclass(frozen=True, slots=True)
class Signer:
    """One SignerInfo, held against the content."""

    certificate: x509.Certificate | None
    """Whose key it names; None where the message does not hold it."""
    failure: str
    """Why the signature does not verify; empty: it does."""


def verify_signers(
    source: Source,
    detached: Callable[[frozenset[str]], Digests] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> tuple[Signer, ...]:
    """Holds every signer of a SignedData against the content.

    Args:
        source: the CMS; read twice where it holds the content.
        detached: computes the digests of content that is not in it, for the
            hash functions named.
        limits: bounds on count and size.

    Returns:
        The signers in the order of the message; empty where nobody signed.

    Raises:
        MalformedMessage: it is not a whole SignedData, or has no content.
        LimitExceeded: a bound was reached.
        BudgetExceeded: no more signatures of the message are verified.
    """
    signed = read_signed_data(source, limits, {})
    names = frozenset(filter(None, map(_digest_name, signed.signer_infos)))
    if signed.is_detached:
        if detached is None:
            raise MalformedMessage("the signed content is absent")
        digests = detached(names)
    else:
        digests = _digests_inside(source, limits, names)
    certificates = _Certificates(signed.certificates)
    return tuple(_hold(signed, signer, certificates, digests) for signer in signed.signer_infos)


def _digest_name(signer: SignerInfo) -> str:
    try:
        return hash_name(signer.digest_algorithm, "digestAlgorithm")
    except MessageError:
        return ""


def _digests_inside(source: Source, limits: Limits, names: frozenset[str]) -> Digests:
    hashers = {name: hashlib.new(name) for name in names}
    read_signed_data(source, limits, hashers)
    return {name: frozenset({hasher.digest()}) for name, hasher in hashers.items()}


def _certificate(raw: bytes) -> x509.Certificate | None:
    try:
        with warnings.catch_warnings():
            # Odd certificates are what this has to live with.
            warnings.simplefilter("ignore")
            return x509.load_der_x509_certificate(raw)
    except PARSER_ERRORS:
        return None


# --- holding one signer against the content ------------------------------------------


class _Certificates:
    """The certificates of one message, each looked at once however many signers there are."""

    def __init__(self, encoded: Iterable[bytes]) -> None:
        self._all = list(filter(None, map(_certificate, dict.fromkeys(encoded))))

    @cached_property
    def _by_serial_number(self) -> dict[int, list[x509.Certificate]]:
        # Writers encode one name in several ways; the key decides, not the name.
        found: defaultdict[int, list[x509.Certificate]] = defaultdict(list)
        for certificate in self._all:
            found[certificate.serial_number].append(certificate)
        return found

    @cached_property
    def _by_key_identifier(self) -> dict[bytes, list[x509.Certificate]]:
        found: defaultdict[bytes, list[x509.Certificate]] = defaultdict(list)
        for certificate in self._all:
            for value in dict.fromkeys(_key_identifiers(certificate)):
                found[value].append(certificate)
        return found

    def find(self, identifier: RecipientIdentifier) -> Sequence[x509.Certificate]:
        """All that a signer may name so."""
        if isinstance(identifier, IssuerAndSerialNumber):
            return self._by_serial_number.get(identifier.serial_number, ())
        return self._by_key_identifier.get(identifier.value, ())


def _hold(
    signed: SignedData, signer: SignerInfo, certificates: _Certificates, digests: Digests
) -> Signer:
    named = certificates.find(signer.identifier)
    failure = "its certificate is not in the message"
    for certificate in named:
        try:
            _verify(signed, signer, certificate, digests)
        except BudgetExceeded:
            raise
        except MessageError as error:
            failure = error.message
        except InvalidSignature:
            failure = "the signature does not verify"
        except (ValueError, TypeError, UnsupportedAlgorithm):
            failure = "the signature or its certificate is damaged"
        else:
            return Signer(certificate, "")
    return Signer(named[0] if named else None, failure)


def _key_identifiers(certificate: x509.Certificate) -> Iterator[bytes]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        yield extension.value.digest
    except (x509.ExtensionNotFound, *PARSER_ERRORS):
        pass
    try:
        public_key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return
    yield x509.SubjectKeyIdentifier.from_public_key(public_key).digest


def _verify(
    signed: SignedData, signer: SignerInfo, certificate: x509.Certificate, digests: Digests
) -> None:
    """Raises where the signature does not verify (RFC 5652 sections 5.4 and 5.6)."""
    digest_name = hash_name(signer.digest_algorithm, "digestAlgorithm")
    right = digests[digest_name]
    verify = partial(_verify_signature, certificate, signer, digest_name)
    if not signer.signed_attributes:
        if signed.content_type != oids.ID_DATA:
            raise MalformedMessage("the signature lacks the attributes that its content asks for")
        _verify_any(partial(verify, is_digest=True), right)
        return
    # The signature is over the DER of a SET OF; some writers sign what they sent.
    set_of = bytes((tags.SET | tags.CONSTRUCTED,)) + signer.signed_attributes[1:]
    attributes = _attributes(set_of)
    if attributes.get(oids.CONTENT_TYPE_ATTRIBUTE) != der.oid(signed.content_type):
        raise MalformedMessage("the signature is over another type of content")
    stated = attributes.get(oids.MESSAGE_DIGEST_ATTRIBUTE, b"")
    if stated not in {der.octet_string(digest) for digest in right}:
        raise MalformedMessage("the content is not what was signed")
    _verify_any(partial(verify, is_digest=False), {der.canonical(set_of), set_of})


def _verify_any(verify: Callable[[bytes], None], candidates: frozenset[bytes] | set[bytes]) -> None:
    for candidate in candidates:
        current().spend(Work.VERIFICATION)
        try:
            return verify(candidate)
        except InvalidSignature:
            continue
    raise InvalidSignature


def _attributes(set_of: bytes) -> dict[str, bytes]:
    """The one value of each attribute, in DER; an attribute with another count is left out."""
    reader = CMSReader.over(set_of)
    found: dict[str, bytes] = {}
    reader.enter(tags.SET, "signedAttrs")
    while reader.peek() is not None:
        reader.enter(tags.SEQUENCE, "an attribute")
        name = reader.read_oid("an attribute type")
        reader.enter(tags.SET, "attribute values")
        values: list[bytes] = []
        while reader.peek() is not None:
            values.append(reader.read_raw("an attribute value", reader.limits.attributes_size))
        reader.leave("attribute values")
        reader.leave("an attribute")
        if name in found:
            raise MalformedMessage("an attribute of the signature stands twice")
        if len(values) == 1:
            found[name] = der.canonical(values[0])
    reader.leave("signedAttrs")
    return found


def _verify_signature(
    certificate: x509.Certificate,
    signer: SignerInfo,
    digest_name: str,
    data: bytes,
    *,
    is_digest: bool,
) -> None:
    key = certificate.public_key()
    algorithm = signer.signature_algorithm
    if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey | _ML_DSA):
        if is_digest:
            raise UnsupportedMessage("a signature of this kind without attributes is not supported")
        key.verify(signer.signature, data)
        return
    name = _SIGNATURE_HASHES.get(algorithm.oid, digest_name)
    if isinstance(key, rsa.RSAPublicKey) and algorithm.oid == oids.RSASSA_PSS:
        name, scheme = _pss(algorithm)
    else:
        scheme = padding.PKCS1v15()
    if is_digest and name != digest_name:
        raise MalformedMessage("the signature names two hash functions")
    hash_function = HASHES[name]()
    how = utils.Prehashed(hash_function) if is_digest else hash_function
    if isinstance(key, rsa.RSAPublicKey):
        if key.public_numbers().e.bit_length() > _LONGEST_EXPONENT:
            raise UnsupportedMessage("a signature by a key with so large an exponent is not read")
        key.verify(signer.signature, data, scheme, how)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signer.signature, data, ec.ECDSA(how))
    elif isinstance(key, dsa.DSAPublicKey):
        key.verify(signer.signature, data, how)
    else:
        raise UnsupportedMessage("a signature by a key of this kind is not supported")


_ML_DSA = mldsa.MLDSA44PublicKey | mldsa.MLDSA65PublicKey | mldsa.MLDSA87PublicKey


def _pss(algorithm: AlgorithmIdentifier) -> tuple[str, padding.AsymmetricPadding]:
    """RSASSA-PSS-params (RFC 4055 section 3.1): the hash, and how the signature is padded."""
    what = "RSASSA-PSS-params"
    name = mask_name = "sha1"
    salt_length = 20
    reader = CMSReader.over(algorithm.parameters or der.sequence())
    reader.enter(tags.SEQUENCE, what)
    if reader.at(tags.context(0)):
        reader.enter(tags.context(0), what)
        name = hash_name(read_algorithm_identifier(reader, "hashAlgorithm"), what)
        reader.leave(what)
    if reader.at(tags.context(1)):
        reader.enter(tags.context(1), what)
        mask_name = mgf1_hash(read_algorithm_identifier(reader, "maskGenAlgorithm"))
        reader.leave(what)
    if reader.at(tags.context(2)):
        reader.enter(tags.context(2), what)
        salt_length = reader.read_integer("saltLength")
        reader.leave(what)
    if reader.at(tags.context(3)):
        reader.skip("trailerField")
    reader.leave(what)
    return name, padding.PSS(padding.MGF1(HASHES[mask_name]()), salt_length)


# --- reading, streaming, which verifies nothing (RFC 5652 section 5) ------------------------------


_WHAT = "the signed data"


class Hasher(Protocol):
    """A hash function at work, as ``hashlib`` has them."""

    def update(self, data: bytes, /) -> None: ...


@dataclass(frozen=True, slots=True)
class SignerInfo:
    """RFC 5652 section 5.3."""

    identifier: RecipientIdentifier
    digest_algorithm: AlgorithmIdentifier
    signed_attributes: bytes
    """As encoded, under its own tag; empty where absent."""
    signature_algorithm: AlgorithmIdentifier
    signature: bytes


@dataclass(slots=True)
class SignedData:
    """All of a SignedData but its content."""

    content_type: str = ""
    """Of what was signed, dotted."""
    is_detached: bool = True
    certificates: tuple[bytes, ...] = ()
    signer_infos: tuple[SignerInfo, ...] = ()


def read_signed_data(source: Source, limits: Limits, hashers: Mapping[str, Hasher]) -> SignedData:
    """Walks a whole SignedData once.

    Args:
        source: read to the end of the structure; with its ContentInfo or without.
        limits: bounds on count and size.
        hashers: fed with the content, where it is inside.

    Raises:
        MalformedMessage: it is not a whole SignedData.
        LimitExceeded: a bound was reached.
    """
    signed = SignedData()
    with source.open() as stream:
        reader = CMSReader(stream, limits)
        around = _enter(reader)
        reader.read_integer("version")
        reader.skip("digestAlgorithms")
        _read_content(reader, signed, hashers)
        if reader.at(tags.context(0)):
            signed.certificates = tuple(_read_certificates(reader))
        if reader.at(tags.context(1)):
            reader.skip("crls")
        signed.signer_infos = tuple(_read_signer_infos(reader))
        for what in around:
            reader.leave(what)
    return signed


def _enter(reader: CMSReader) -> tuple[str, ...]:
    """Enters the structure; what has to be left again.

    As the content of an envelope it stands without its ContentInfo (RFC 5652
    section 6.1), which not all producers leave out, and in PKCS #7 also without its own
    tag and length (RFC 2315 section 10.3).
    """
    if reader.at(tags.INTEGER):
        return ()
    reader.enter(tags.SEQUENCE, _WHAT)
    if reader.at(tags.INTEGER):
        return (_WHAT,)
    if reader.read_oid("contentType") != oids.SIGNED_DATA:
        raise MalformedMessage("the content is not SignedData")
    reader.enter(tags.context(0), _WHAT)
    reader.enter(tags.SEQUENCE, _WHAT)
    return (_WHAT, _WHAT, "ContentInfo")


def _read_content(reader: CMSReader, signed: SignedData, hashers: Mapping[str, Hasher]) -> None:
    reader.enter(tags.SEQUENCE, "encapContentInfo")
    signed.content_type = reader.read_oid("eContentType")
    if reader.at(tags.context(0)):
        signed.is_detached = False
        reader.enter(tags.context(0), "eContent")
        header = reader.take_tag(tags.OCTET_STRING, "eContent")
        for block in reader.octet_string_blocks(header, "eContent"):
            for hasher in hashers.values():
                hasher.update(block)
        reader.leave("eContent")
    reader.leave("encapContentInfo")


def _read_certificates(reader: CMSReader) -> Iterator[bytes]:
    what = "certificates"
    limits = reader.limits
    reader.enter(tags.context(0), what)
    count = 0
    while (header := reader.peek()) is not None:
        count += 1
        if count > limits.certificates:
            raise LimitExceeded(f"a signature brings more than {limits.certificates} certificates")
        if header.tag == tags.SEQUENCE:
            yield reader.read_raw("a certificate", limits.certificate_size)
        else:
            reader.skip("a certificate of another kind")
    reader.leave(what)


def _read_signer_infos(reader: CMSReader) -> Iterator[SignerInfo]:
    what = "signerInfos"
    reader.enter(tags.SET, what)
    count = 0
    while reader.peek() is not None:
        count += 1
        if count > reader.limits.signers:
            raise LimitExceeded(f"more than {reader.limits.signers} signed it")
        yield _read_signer_info(reader)
    reader.leave(what)


def _read_signer_info(reader: CMSReader) -> SignerInfo:
    """SignerInfo (RFC 5652 section 5.3)."""
    what = "a signerInfo"
    reader.enter(tags.SEQUENCE, what)
    reader.read_integer("version")
    identifier = require_identifier(read_recipient_identifier(reader), "a signer")
    digest_algorithm = read_algorithm_identifier(reader, "digestAlgorithm")
    attributes = b""
    if reader.at(tags.context(0)):
        attributes = reader.read_raw("signedAttrs", reader.limits.attributes_size)
    signature_algorithm = read_algorithm_identifier(reader, "signatureAlgorithm")
    signature = reader.read_octet_string("signature", reader.limits.encrypted_key_size)
    if reader.at(tags.context(1)):
        reader.skip("unsignedAttrs")
    reader.leave(what)
    return SignerInfo(identifier, digest_algorithm, attributes, signature_algorithm, signature)
