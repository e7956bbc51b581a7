"""What a token holds of a key history: private keys by what is public of them, and certificates.

The keys stay on their token (PKCS #11). It raises to a power and multiplies points;
paddings and key derivations are taken off in software, since tokens know few of
them. What a token fails with is told from what a key does not fit: the one ends the
run, the other costs a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from sectool.asn1 import der, tags
from sectool.cms.names import PARSER_ERRORS
from sectool.cms.seams import OAEP, RSAPadding
from sectool.errors import DecryptionFailed, RunError, SectoolError, UnsupportedMessage
from sectool.keys import ber, limits
from sectool.keys.certificates import HeldCertificate, read_certificate
from sectool.keys.private_keys import count_operation, describe_key, encode_public_key
from sectool.keys.problems import KeyFileError, KeyProblem, damaged, unsupported
from sectool.keys.token_access import TokenAccess, token_failed
from sectool.keys.token_uri import TokenURI
from sectool.keys.unpadding import unpad, whole_encrypted_key
from sectool.values import dataclass

TokenPublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_NATIVE_HASHES = {
    "sha1": ("SHA_1", "SHA1"),
    "sha224": ("SHA224", "SHA224"),
    "sha256": ("SHA256", "SHA256"),
    "sha384": ("SHA384", "SHA384"),
    "sha512": ("SHA512", "SHA512"),
}
"""Names of the mechanism and of the mask generation function."""


_shown: dict[TokenKey, tuple[Any, Any]] = {}
"""Session and the key in it, once it was looked for."""


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A private key on a token, as ``HeldOperations`` and as its own ``PortableKey``."""

    access: TokenAccess
    id: bytes
    """``CKA_ID``."""
    name: str
    """``CKA_LABEL``."""
    public_key_info: bytes
    mechanisms: frozenset[str]
    """What the token does: names of ``pkcs11.Mechanism``."""
    label: str = ""

    @property
    def algorithm(self) -> str:
        return describe_key(self._public_key)

    @property
    def is_on_token(self) -> bool:
        return True

    @property
    def portable(self) -> TokenKey:
        return self

    def restore(self, label: str) -> TokenKey:
        return self.called(label)

    def called(self, label: str) -> Self:
        return replace(self, label=label)

    @property
    def _public_key(self) -> TokenPublicKey:
        key = load_der_public_key(self.public_key_info)
        assert isinstance(key, TokenPublicKey)
        return key

    def _private_key(self) -> Any:
        """The key as the token's session shows it.

        Raises:
            RunError: it is not there any more.
        """
        session = self.access.session()
        known = _shown.get(self)
        if known is None or known[0] is not session:
            _shown[self] = known = (session, self._find(session))
        return known[1]

    def _find(self, session: Any) -> Any:
        import pkcs11  # noqa: PLC0415

        attributes = {
            pkcs11.Attribute.CLASS: pkcs11.ObjectClass.PRIVATE_KEY,
            pkcs11.Attribute.ID: self.id,
            pkcs11.Attribute.LABEL: self.name,
        }
        try:
            for key in list(session.get_objects(attributes)):
                if self._is_this(key):
                    return key
        except pkcs11.PKCS11Error as error:
            raise token_failed(str(self.access.uri), error) from error
        raise RunError(
            f"{self.access.uri} has lost the key {self.name!r}",
            hint="see that the right token is there; the same command resumes",
        )

    def _is_this(self, key: Any) -> bool:
        import pkcs11  # noqa: PLC0415

        public_key = self._public_key
        if isinstance(public_key, rsa.RSAPublicKey):
            modulus = public_key.public_numbers().n
            return bool(
                key.key_type == pkcs11.KeyType.RSA
                and int.from_bytes(key[pkcs11.Attribute.MODULUS], "big") == modulus
            )
        return bool(key.key_type == pkcs11.KeyType.EC)

    # --- RSA ----------------------------------------------------------------------

    def decrypt_rsa(self, encrypted_key: bytes, padding: RSAPadding) -> bytes:
        public_key = self._public_key
        if not isinstance(public_key, rsa.RSAPublicKey):
            raise DecryptionFailed
        size = (public_key.key_size + 7) // 8
        encrypted_key = whole_encrypted_key(encrypted_key, size)
        if int.from_bytes(encrypted_key, "big") >= public_key.public_numbers().n:
            raise DecryptionFailed
        count_operation(public_key)
        if "RSA_X_509" in self.mechanisms:
            return unpad(self._raise_to_power(encrypted_key).rjust(size, b"\0"), padding)
        return self._decrypt_there(encrypted_key, padding)

    def _raise_to_power(self, encrypted_key: bytes) -> bytes:
        """The raw operation, which no content makes fail: what fails is the token."""
        import pkcs11  # noqa: PLC0415

        key = self._private_key()
        try:
            return bytes(key.decrypt(encrypted_key, mechanism=pkcs11.Mechanism.RSA_X_509))
        except pkcs11.PKCS11Error as error:
            raise token_failed(str(self.access.uri), error) from error

    def _decrypt_there(self, encrypted_key: bytes, padding: RSAPadding) -> bytes:
        """On a token that keeps the raw operation to itself, with the paddings it knows."""
        import pkcs11  # noqa: PLC0415

        mechanism, parameter = pkcs11.Mechanism.RSA_PKCS, None
        if isinstance(padding, OAEP):
            mechanism, parameter = pkcs11.Mechanism.RSA_PKCS_OAEP, _oaep_parameter(padding)
        if mechanism.name not in self.mechanisms:
            raise UnsupportedMessage(f"the token does not do {mechanism.name}")
        key = self._private_key()
        try:
            return bytes(key.decrypt(encrypted_key, parameter, mechanism=mechanism))
        except (pkcs11.MechanismParamInvalid, pkcs11.MechanismInvalid, pkcs11.ArgumentsBad):
            raise UnsupportedMessage("the token does not do OAEP with these parameters") from None
        except pkcs11.PKCS11Error:
            # Tokens have no one error for a padding that does not fit. One that still
            # shows the key is well, and it was the padding.
            self._check_it_is_shown(key)
            raise DecryptionFailed from None

    def _check_it_is_shown(self, key: Any) -> None:
        import pkcs11  # noqa: PLC0415

        try:
            _ = key[pkcs11.Attribute.LABEL]
        except pkcs11.PKCS11Error as error:
            raise token_failed(str(self.access.uri), error) from error

    # --- elliptic curves --------------------------------------------------------------

    def agree(self, public_key: bytes) -> bytes:
        import pkcs11  # noqa: PLC0415

        own = self._public_key
        if not isinstance(own, ec.EllipticCurvePublicKey):
            raise DecryptionFailed
        try:
            # Also refuses what is not on the curve, which would give the key away bit by bit.
            peer = ec.EllipticCurvePublicKey.from_encoded_point(own.curve, public_key)
        except ValueError as error:
            raise DecryptionFailed from error
        count_operation(own)
        point = peer.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        size = (own.curve.key_size + 7) // 8
        key = self._private_key()
        try:
            return _derive(key, point, size)
        except pkcs11.PKCS11Error as error:
            raise token_failed(str(self.access.uri), error) from error

    def decapsulate(self, ciphertext: bytes) -> bytes:  # noqa: ARG002 - the seam
        raise DecryptionFailed


def _oaep_parameter(padding: OAEP) -> tuple[Any, Any, bytes | None]:
    import pkcs11  # noqa: PLC0415

    try:
        mechanism, _ = _NATIVE_HASHES[padding.hash_name]
        _, mask = _NATIVE_HASHES[padding.mgf_hash_name]
        return pkcs11.Mechanism[mechanism], pkcs11.MGF[mask], padding.label or None
    except KeyError:
        raise UnsupportedMessage("the token does not do OAEP with these parameters") from None


def _derive(key: Any, point: bytes, size: int) -> bytes:
    """The shared secret, read from the token and removed there."""
    import pkcs11  # noqa: PLC0415

    secret = key.derive_key(
        pkcs11.KeyType.GENERIC_SECRET,
        8 * size,
        mechanism=pkcs11.Mechanism.ECDH1_DERIVE,
        mechanism_param=(pkcs11.KDF.NULL, None, point),
        template={
            pkcs11.Attribute.TOKEN: False,
            pkcs11.Attribute.SENSITIVE: False,
            pkcs11.Attribute.EXTRACTABLE: True,
        },
    )
    try:
        return bytes(secret[pkcs11.Attribute.VALUE]).rjust(size, b"\0")
    finally:
        secret.destroy()


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
