"""Private keys that stay on their token, and what they do there (PKCS #11).

The token raises to a power and multiplies points; paddings and key derivations
are taken off in software, since tokens know few of them. What a token fails
with is told from what a key does not fit: the one ends the run, the other
costs a message.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)

from sectool.cms.seams import OAEP, RSAPadding
from sectool.errors import DecryptionFailed, RunError, UnsupportedMessage
from sectool.keys.private_keys import count_operation, describe_key
from sectool.keys.token_access import TokenAccess, token_failed
from sectool.keys.unpadding import unpad, whole_encrypted_key

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
