"""What a token holds of a key history: private keys by what is public of them, and certificates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from sectool.asn1 import der, tags
from sectool.cms.addresses import PARSER_ERRORS
from sectool.errors import SectoolError
from sectool.keys import ber, limits
from sectool.keys.certificates import HeldCertificate, read_certificate
from sectool.keys.private_keys import encode_public_key
from sectool.keys.problems import KeyFileError, KeyProblem, damaged, unsupported
from sectool.keys.token_access import TokenAccess, token_failed
from sectool.keys.token_keys import TokenKey
from sectool.keys.token_uri import TokenURI

_USUAL_EXPONENT = 65537
_EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")


@dataclass(slots=True)
class TokenContents:
    """Keys, certificates and problems of one token."""

    keys: list[tuple[TokenKey, Path]] = field(default_factory=list)
    """Each with the URI of the key in the place of a file name."""
    certificates: list[HeldCertificate] = field(default_factory=list)
    problems: list[KeyProblem] = field(default_factory=list)


def read_token(access: TokenAccess) -> TokenContents:
    """All keys that the URI means, and all certificates.

    Raises:
        RunError: the token does not work.
    """
    import pkcs11  # noqa: PLC0415

    try:
        return _read(access)
    except pkcs11.PKCS11Error as error:
        raise token_failed(str(access.uri), error) from error


def _read(access: TokenAccess) -> TokenContents:
    import pkcs11  # noqa: PLC0415

    session = access.session()
    slot = session.token.slot
    mechanisms = frozenset(getattr(one, "name", str(one)) for one in slot.get_mechanisms())
    contents = TokenContents()
    public_keys: dict[bytes, list[bytes]] = {}
    for entry in _objects(session, pkcs11.ObjectClass.CERTIFICATE):
        source = _source(access.uri, session, entry)
        try:
            certificate = read_certificate(_attribute(entry, "VALUE") or b"")
        except KeyFileError as error:
            contents.problems.append(error.about(source))
            continue
        contents.certificates.append(certificate)
        identifier = _attribute(entry, "ID") or b""
        public_keys.setdefault(identifier, []).append(certificate.public_key_info)
    for entry in _objects(session, pkcs11.ObjectClass.PUBLIC_KEY):
        found = _public_key_info(entry)
        if found is not None:
            public_keys.setdefault(_attribute(entry, "ID") or b"", []).append(found)
    for entry in _objects(session, pkcs11.ObjectClass.PRIVATE_KEY, access.uri):
        source = _source(access.uri, session, entry)
        try:
            key = _key(access, entry, public_keys, mechanisms)
            contents.keys.append((key, source))
        except KeyFileError as error:
            contents.problems.append(error.about(source))
    return contents


def _objects(session: Any, kind: Any, uri: TokenURI | None = None) -> Iterator[Any]:
    import pkcs11  # noqa: PLC0415

    wanted = {pkcs11.Attribute.CLASS: kind}
    if uri is not None and uri.object is not None:
        wanted[pkcs11.Attribute.LABEL] = uri.object
    if uri is not None and uri.id is not None:
        wanted[pkcs11.Attribute.ID] = uri.id
    # All of them before the next search begins: a session has one at a time.
    return iter(list(islice(session.get_objects(wanted), limits.MAXIMUM_KEYS)))


def _source(uri: TokenURI, session: Any, entry: Any) -> Path:
    """The URI of one object, in the place of a file name."""
    label, identifier = _attribute(entry, "LABEL"), _attribute(entry, "ID")
    named = replace(uri, token=session.token.label, object=label or None, id=identifier or None)
    return Path(str(named))


def _attribute(entry: Any, name: str) -> Any:
    """Value of an attribute; None where the object does not have it or does not show it."""
    import pkcs11  # noqa: PLC0415

    try:
        return entry[pkcs11.Attribute[name]]
    except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive):
        return None


def _key(
    access: TokenAccess,
    entry: Any,
    public_keys: dict[bytes, list[bytes]],
    mechanisms: frozenset[str],
) -> TokenKey:
    import pkcs11  # noqa: PLC0415

    identifier = _attribute(entry, "ID") or b""
    candidates = public_keys.get(identifier, [])
    if entry.key_type == pkcs11.KeyType.RSA:
        if not _attribute(entry, "DECRYPT"):
            raise unsupported("the key on the token does not decrypt, by its usage")
        info = _public_key_info(entry) or _of_kind(candidates, rsa.RSAPublicKey)
    elif entry.key_type == pkcs11.KeyType.EC:
        if not _attribute(entry, "DERIVE"):
            raise unsupported(
                "the key on the token does not agree, by its usage",
                hint="write it with usage derive: pkcs11-tool --write-object --usage-derive",
            )
        info = _of_kind(candidates, ec.EllipticCurvePublicKey)
    else:
        raise unsupported("a key on a token that is neither RSA nor on an elliptic curve")
    if info is None:
        raise unsupported(
            "the token shows no public key for this key",
            hint="write its public key or certificate to the token, with the same id",
        )
    return TokenKey(access, identifier, _attribute(entry, "LABEL") or "", info, mechanisms)


def _of_kind(candidates: list[bytes], kind: type) -> bytes | None:
    for info in candidates:
        try:
            if isinstance(load_der_public_key(info), kind):
                return info
        except PARSER_ERRORS:
            continue
    return None


def _public_key_info(entry: Any) -> bytes | None:
    """SubjectPublicKeyInfo from the attributes of a key; None where they do not tell."""
    modulus, parameters, point = (
        _attribute(entry, name) for name in ("MODULUS", "EC_PARAMS", "EC_POINT")
    )
    try:
        if modulus:
            exponent = int.from_bytes(_attribute(entry, "PUBLIC_EXPONENT") or b"", "big")
            numbers = rsa.RSAPublicNumbers(
                exponent or _USUAL_EXPONENT, int.from_bytes(modulus, "big")
            )
            return encode_public_key(numbers.public_key())
        if parameters and point:
            return _elliptic(parameters, point)
    except (*PARSER_ERRORS, SectoolError):
        return None
    return None


def _elliptic(parameters: bytes, point: bytes) -> bytes:
    """Tokens show the point within an OCTET STRING, old ones bare."""
    if point[0] == tags.OCTET_STRING and len(ber.read(point).encoding) == len(point):
        point = ber.read(point).octets()
    algorithm = der.sequence(_EC_PUBLIC_KEY, parameters)
    info = der.sequence(algorithm, der.element(tags.BIT_STRING, b"\0" + point))
    key = load_der_public_key(info)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise damaged("a public key on the token is damaged")
    return encode_public_key(key)
