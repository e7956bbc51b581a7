"""Recipients by a shared key or a password (RFC 5652 sections 6.2.3 and 6.2.4, RFC 3211).

What is shared is given by a person; no key history holds it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from functools import partial

from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher, modes

from sectool.asn1 import tags
from sectool.budget import Work, current
from sectool.cms import oids
from sectool.cms.algorithms import CONTENT_ENCRYPTION
from sectool.cms.ciphers import CBC
from sectool.cms.identifiers import (
    AlgorithmIdentifier,
    read_algorithm_identifier,
    require_null_or_absent,
)
from sectool.cms.key_wrap import key_wrap
from sectool.cms.reader import CMSReader
from sectool.cms.recipients import RecipientInfo, RecipientKind, UnwrappedKey
from sectool.errors import (
    DecryptionFailed,
    MalformedMessage,
    UnsupportedMessage,
)
from sectool.values import dataclass

_CHECK_SIZE = 3
"""Bytes of the key that RFC 3211 section 2.3.1 repeats inverted."""


@dataclass(frozen=True, slots=True)
class SharedSecrets:
    """What sender and recipient share; a secret."""

    key_encryption_keys: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    """By the keyIdentifier of the kekid."""
    passwords: tuple[bytes, ...] = field(default=(), repr=False)
    """Each is tried on every PasswordRecipientInfo."""
    unnamed_keys: tuple[bytes, ...] = field(default=(), repr=False)
    """Key-encryption keys that are tried on every KEKRecipientInfo."""

    def __bool__(self) -> bool:
        return bool(self.key_encryption_keys or self.passwords or self.unnamed_keys)


NO_SECRETS = SharedSecrets()


@dataclass(frozen=True, slots=True)
class SharedKey:
    """One shared secret that may open one recipient."""

    label: str
    """What a person calls it; never the secret."""
    is_named: bool
    """Whether the recipient names it."""
    unwrap: Callable[[], UnwrappedKey] = field(repr=False)
    """Raises DecryptionFailed, MalformedMessage or UnsupportedMessage."""


def find_shared_keys(recipient_info: RecipientInfo, secrets: SharedSecrets) -> Iterator[SharedKey]:
    """The shared secrets that may open a recipient; other kinds of recipients give none."""
    if recipient_info.kind is RecipientKind.KEY_ENCRYPTION_KEY:
        name = _key_identifier(recipient_info.detail)
        key = secrets.key_encryption_keys.get(name) if name is not None else None
        if name is not None and key is not None:
            label = display_shared_key(recipient_info)
            yield SharedKey(label, True, partial(_unwrap_with_key, recipient_info, key))
        for key in secrets.unnamed_keys:
            unwrap = partial(_unwrap_with_key, recipient_info, key)
            yield SharedKey("shared key without a name", False, unwrap)
    if recipient_info.kind is RecipientKind.PASSWORD:
        for password in secrets.passwords:
            unwrap = partial(_unwrap_with_password, recipient_info, password)
            yield SharedKey("password", False, unwrap)


def check_shared_key(recipient_info: RecipientInfo) -> None:
    """Refuses a KEKRecipientInfo that no shared key could open; raises as ``key_wrap``."""
    assert recipient_info.algorithm is not None
    key_wrap(recipient_info.algorithm)


def check_password(recipient_info: RecipientInfo) -> None:
    """Refuses a PasswordRecipientInfo that no password could open.

    Raises:
        UnsupportedMessage: its cipher or key derivation is not supported.
        MalformedMessage: their parameters are damaged.
    """
    assert recipient_info.algorithm is not None
    cipher = _read_cipher(recipient_info.algorithm)
    _read_derivation(recipient_info.detail, cipher.row.key_sizes[0])


def display_shared_key(recipient_info: RecipientInfo) -> str:
    """How a KEKRecipientInfo names its key, for a person."""
    name = _key_identifier(recipient_info.detail)
    return "a shared key without a name" if name is None else f"shared key {name.hex()[:64]}"


# --- KEKRecipientInfo --------------------------------------------------------


def _key_identifier(detail: bytes) -> bytes | None:
    """The keyIdentifier of a KEKIdentifier; date and other attributes are passed over.

    None where it is damaged: the other recipients are not to suffer from it.
    """
    reader = CMSReader.over(detail)
    try:
        reader.enter(tags.SEQUENCE, "kekid")
        return reader.read_octet_string("keyIdentifier", reader.limits.identifier_size)
    except MalformedMessage:
        return None


def _unwrap_with_key(recipient_info: RecipientInfo, key: bytes) -> UnwrappedKey:
    assert recipient_info.algorithm is not None
    row = key_wrap(recipient_info.algorithm)
    row.check(recipient_info.encrypted_key)
    if len(key) != row.key_size:
        raise DecryptionFailed
    return UnwrappedKey(row.unwrap(key, recipient_info.encrypted_key), is_proven=True)


# --- PasswordRecipientInfo ---------------------------------------------------


def _unwrap_with_password(recipient_info: RecipientInfo, password: bytes) -> UnwrappedKey:
    assert recipient_info.algorithm is not None
    cipher = _read_cipher(recipient_info.algorithm)
    (key_size, *_) = cipher.row.key_sizes
    key = _read_derivation(recipient_info.detail, key_size)(password)
    encrypted_key = recipient_info.encrypted_key
    block_size = cipher.row.block_size
    if len(encrypted_key) % block_size or len(encrypted_key) < 2 * block_size:
        raise MalformedMessage("the encrypted key of a password recipient is not whole blocks")
    # Three bytes tell a wrong password only sixteen million times to one.
    return UnwrappedKey(_unwrap_blocks(cipher, key, encrypted_key), is_proven=False)


def _read_cipher(algorithm: AlgorithmIdentifier) -> CBC:
    """The cipher of id-alg-PWRI-KEK, in CBC mode with its vector (RFC 3211 section 2.3)."""
    if algorithm.oid != oids.PWRI_KEK:
        name = oids.key_encryption_name(algorithm.oid)
        raise UnsupportedMessage(f"recipients by password with {name} are not supported")
    if algorithm.parameters is None:
        raise MalformedMessage("the cipher of a password recipient is missing")
    inner = read_algorithm_identifier(
        CMSReader.over(algorithm.parameters), "the cipher of a password recipient"
    )
    row = CONTENT_ENCRYPTION.get(inner.oid)
    cipher = row.read(row, inner.parameters) if row is not None else None
    if not isinstance(cipher, CBC):
        name = oids.content_encryption_name(inner.oid)
        raise UnsupportedMessage(f"recipients by password with {name} are not supported")
    return cipher


def _unwrap_blocks(cipher: CBC, key: bytes, encrypted_key: bytes) -> bytes:
    """RFC 3211 section 2.3.2: two layers of CBC, then a count and check bytes."""
    block_cipher, size = cipher.row.block_cipher, cipher.row.block_size
    assert block_cipher is not None
    algorithm = block_cipher(key)
    last = _decrypt(algorithm, encrypted_key[-2 * size : -size], encrypted_key[-size:])
    inner = _decrypt(algorithm, last, encrypted_key[:-size]) + last
    opened = _decrypt(algorithm, cipher.iv, inner)
    content_encryption_key = opened[1 + _CHECK_SIZE :][: opened[0]]
    check = bytes(octet ^ 0xFF for octet in opened[1 : 1 + _CHECK_SIZE])
    if len(content_encryption_key) != opened[0] or len(content_encryption_key) < _CHECK_SIZE:
        raise DecryptionFailed
    if content_encryption_key[:_CHECK_SIZE] != check:
        raise DecryptionFailed
    return content_encryption_key


def _decrypt(algorithm: BlockCipherAlgorithm, iv: bytes, ciphertext: bytes) -> bytes:
    decryptor = Cipher(algorithm, modes.CBC(iv)).decryptor()
    return decryptor.update(ciphertext) + decryptor.finalize()


def _read_derivation(detail: bytes, key_size: int) -> Callable[[bytes], bytes]:
    """PBKDF2 as keyDerivationAlgorithm names it (RFC 8018 appendix A.2)."""
    if not detail:
        raise UnsupportedMessage("a password recipient without key derivation is not supported")
    what = "keyDerivationAlgorithm"
    algorithm = read_algorithm_identifier(CMSReader.over(detail), what, tag=tags.context(0))
    if algorithm.oid != oids.PBKDF2:
        raise UnsupportedMessage(f"key derivation {algorithm.oid} is not supported")
    if algorithm.parameters is None:
        raise MalformedMessage("the PBKDF2 parameters are missing")
    reader = CMSReader.over(algorithm.parameters)
    reader.enter(tags.SEQUENCE, "the PBKDF2 parameters")
    salt = reader.read_octet_string("the PBKDF2 salt", reader.limits.parameters_size)
    iterations = reader.read_integer("the PBKDF2 iteration count")
    if reader.at(tags.INTEGER) and reader.read_integer("keyLength") != key_size:
        raise MalformedMessage("the PBKDF2 keyLength is not that of the cipher")
    hash_name = "sha1"
    if reader.peek() is not None:
        hash_name = _pseudorandom_function(read_algorithm_identifier(reader, "prf"))
    reader.leave("the PBKDF2 parameters")
    if iterations < 1:
        raise MalformedMessage("the PBKDF2 iteration count is not positive")

    def derive(password: bytes) -> bytes:
        current().spend(Work.DERIVATION, iterations)
        return hashlib.pbkdf2_hmac(hash_name, password, salt, iterations, key_size)

    return derive


def _pseudorandom_function(algorithm: AlgorithmIdentifier) -> str:
    name = oids.PSEUDORANDOM_FUNCTIONS.get(algorithm.oid)
    if name is None:
        raise UnsupportedMessage(f"pseudorandom function {algorithm.oid} is not supported")
    require_null_or_absent(algorithm, "prf")
    return name
