"""Turns passphrases into keys: PKCS#12 (RFC 7292 appendix B), PBKDF1 and 2 (RFC 8018), scrypt.

A passphrase is text, a derivation takes bytes, and producers disagree about
the step between: so there are several forms of each passphrase to try.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from enum import IntEnum
from functools import partial

from sectool.asn1 import tags
from sectool.asn1.tree import Node
from sectool.budget import Work, current, limit_factor
from sectool.cms.identifiers import HASH_NAMES
from sectool.cms.oids import PSEUDORANDOM_FUNCTIONS
from sectool.keys import limits
from sectool.keys.problems import damaged, over_limit, unsupported
from sectool.values import dataclass

HASHES = {
    "1.2.840.113549.2.5": "md5",
    **HASH_NAMES,
    "2.16.840.1.101.3.4.2.5": "sha512_224",
    "2.16.840.1.101.3.4.2.6": "sha512_256",
    "2.16.840.1.101.3.4.2.7": "sha3_224",
    "2.16.840.1.101.3.4.2.8": "sha3_256",
    "2.16.840.1.101.3.4.2.9": "sha3_384",
    "2.16.840.1.101.3.4.2.10": "sha3_512",
}
HMAC_HASHES = {
    **PSEUDORANDOM_FUNCTIONS,
    "1.2.840.113549.2.12": "sha512_224",
    "1.2.840.113549.2.13": "sha512_256",
    "2.16.840.1.101.3.4.2.13": "sha3_224",
    "2.16.840.1.101.3.4.2.14": "sha3_256",
    "2.16.840.1.101.3.4.2.15": "sha3_384",
    "2.16.840.1.101.3.4.2.16": "sha3_512",
}
_PBKDF2 = "1.2.840.113549.1.5.12"
_SCRYPT = "1.3.6.1.4.1.11591.4.11"

KeyDerivation = Callable[[bytes, int], bytes]
"""From a passphrase in bytes and a key size to a key."""


class Purpose(IntEnum):
    """What a PKCS#12 derivation is for (RFC 7292 appendix B.3)."""

    KEY = 1
    INITIALISATION_VECTOR = 2
    MAC = 3


def count_rounds(iterations: int, salt: bytes) -> None:
    """Counts one key derivation before it is done.

    Raises:
        KeyFileError: its parameters make no sense, or the salt is too long.
        BudgetExceeded: no more is derived for the file.
    """
    if iterations < 1:
        raise damaged("a key derivation has no iterations")
    if iterations > limits.MAXIMUM_ITERATIONS * limit_factor():
        raise over_limit(
            f"a key derivation of {iterations:.3g} iterations"
            f" (at most {limits.MAXIMUM_ITERATIONS * limit_factor():,} are done){current().remedy}"
        )
    if len(salt) > limits.MAXIMUM_SALT_BYTES:
        raise over_limit("the salt of a key derivation is too long")
    current().spend(Work.DERIVATION, iterations)


def text_forms(passphrase: str) -> list[bytes]:
    """The bytes that PKCS#5 derivations may have been given, likeliest first."""
    texts = [passphrase, *(unicodedata.normalize(form, passphrase) for form in ("NFC", "NFD"))]
    forms = [text.encode("utf-8", "surrogateescape") for text in texts]
    # Latin-1, and what PKI.js makes of letters that it lacks.
    forms.append(bytes(ord(letter) & 0xFF for letter in texts[1]))
    return list(dict.fromkeys(forms))


def bmp_forms(passphrase: str) -> list[bytes]:
    """The bytes that PKCS#12 derivations may have been given, likeliest first.

    RFC 7292 appendix B.1: big-endian UTF-16 with a terminator. An empty
    passphrase is written with and without it; OpenSSL before 1.1 widened each
    byte of UTF-8 to a character.
    """
    if not passphrase:
        return [b"\0\0", b""]
    forms = [passphrase.encode("utf-16-be", "surrogatepass") + b"\0\0"]
    forms += [
        form.decode("latin-1").encode("utf-16-be") + b"\0\0" for form in text_forms(passphrase)
    ]
    return list(dict.fromkeys(forms))


@dataclass(frozen=True, slots=True)
class PKCS12Derivation:
    """The derivation of RFC 7292 appendix B.2."""

    hash_name: str
    salt: bytes
    iterations: int

    def derive(self, passphrase: bytes, purpose: Purpose, size: int) -> bytes:
        """``size`` bytes from one of ``bmp_forms``."""
        return next(self.derivations(passphrase, purpose, size))

    def derivations(self, passphrase: bytes, purpose: Purpose, size: int) -> Iterator[bytes]:
        """As ``derive``; then what gpgsm derives, where that is something else."""
        algorithm = _constructor(self.hash_name)
        block_bytes = algorithm(b"").block_size
        diversifier = bytes([purpose]) * block_bytes
        begin = _filled(self.salt, block_bytes) + _filled(passphrase, block_bytes)
        digests: dict[bytes, bytes] = {}
        given: set[bytes] = set()
        for replace in (_replaced, _replaced_as_by_gpgsm):
            key, mixed = b"", begin
            while True:
                if mixed not in digests:
                    digests[mixed] = self._digest(diversifier + mixed)
                key += digests[mixed]
                if len(key) >= size:
                    break
                mixed = _advanced(mixed, _filled(digests[mixed], block_bytes), replace)
            if key[:size] not in given:
                given.add(key[:size])
                yield key[:size]

    def _digest(self, text: bytes) -> bytes:
        algorithm = _constructor(self.hash_name)
        digest = algorithm(text).digest()
        for _ in range(self.iterations - 1):
            digest = algorithm(digest).digest()
        return digest


def _constructor(hash_name: str) -> Callable[[bytes], hashlib._Hash]:
    # The named constructors take half the time of hashlib.new, over millions of rounds.
    return getattr(hashlib, hash_name, None) or partial(hashlib.new, hash_name)


def _filled(value: bytes, block_bytes: int) -> bytes:
    """``value`` repeated to whole blocks; nothing stays nothing."""
    size = -(-len(value) // block_bytes) * block_bytes
    return (value * (size // len(value) + 1))[:size] if value else b""


def _advanced(mixed: bytes, addend: bytes, replace: Callable[[bytes, int], bytes]) -> bytes:
    """Each block of ``mixed`` plus ``addend`` plus 1, step 6C."""
    size = len(addend)
    number = int.from_bytes(addend, "big") + 1
    blocks = [mixed[start : start + size] for start in range(0, len(mixed), size)]
    return b"".join(
        replace(block, (int.from_bytes(block, "big") + number) % (1 << 8 * size))
        for block in blocks
    )


def _replaced(block: bytes, number: int) -> bytes:
    return number.to_bytes(len(block), "big")


def _replaced_as_by_gpgsm(block: bytes, number: int) -> bytes:
    """A number that begins with zero bytes is written without them, over the old block.

    So gpgsm 2.2.40 does: one in some hundred of its files opens with nothing else.
    """
    written = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return written + block[len(written) :]


def pbkdf1(hash_name: str, passphrase: bytes, salt: bytes, iterations: int) -> bytes:
    """Key and initialisation vector, 16 bytes (RFC 8018 section 5.1)."""
    digest = passphrase + salt
    for _ in range(iterations):
        digest = hashlib.new(hash_name, digest).digest()
    return digest[:16]


def read_derivation(algorithm: Node) -> KeyDerivation:
    """The derivation that PBES2 or PBMAC1 parameters name.

    Each call of it is counted.

    Raises:
        KeyFileError: unknown, damaged or over a limit.
    """
    parts = algorithm.pair("a key derivation has no parameters")
    name, parameters = parts[0].object_identifier(), parts[1].children()
    if name == _PBKDF2:
        return _read_pbkdf2(parameters)
    if name == _SCRYPT:
        return _read_scrypt(parameters)
    raise unsupported(f"the key derivation {name}")


def _read_pbkdf2(parameters: list[Node]) -> KeyDerivation:
    if len(parameters) < 2:
        raise damaged("PBKDF2 has no iterations")
    salt, iterations = parameters[0].octets(), parameters[1].integer()
    hash_name = "sha1"
    for node in parameters[2:]:
        if node.tag == tags.SEQUENCE:
            hash_name = hmac_hash(node)

    def derive(passphrase: bytes, size: int) -> bytes:
        blocks = -(-size // hashlib.new(hash_name).digest_size)
        count_rounds(iterations * blocks, salt)
        return hashlib.pbkdf2_hmac(hash_name, passphrase, salt, iterations, size)

    return derive


def hmac_hash(algorithm: Node) -> str:
    """The hash of an HMAC AlgorithmIdentifier."""
    parts = algorithm.expect(tags.SEQUENCE).children()
    name = parts[0].object_identifier() if parts else ""
    if name not in HMAC_HASHES:
        raise unsupported(f"the message authentication code {name}")
    return HMAC_HASHES[name]


def _read_scrypt(parameters: list[Node]) -> KeyDerivation:
    """RFC 7914 section 7."""
    if len(parameters) < 4:
        raise damaged("scrypt has no parameters")
    salt = parameters[0].octets()
    cost, block_size, parallelisation = (node.integer() for node in parameters[1:4])
    if cost < 2 or cost & (cost - 1) or block_size < 1 or parallelisation < 1:
        raise damaged("the parameters of scrypt make no sense")
    if 128 * block_size * (cost + parallelisation) > limits.MAXIMUM_SCRYPT_BYTES:
        raise over_limit("scrypt asks for too much memory")

    def derive(passphrase: bytes, size: int) -> bytes:
        count_rounds(cost * block_size * parallelisation, salt)
        return _scrypt(passphrase, salt, (cost, block_size, parallelisation), size)

    return derive


def _scrypt(passphrase: bytes, salt: bytes, parameters: tuple[int, int, int], size: int) -> bytes:
    cost, block_size, parallelisation = parameters
    try:
        return hashlib.scrypt(
            passphrase,
            salt=salt,
            n=cost,
            r=block_size,
            p=parallelisation,
            maxmem=2 * limits.MAXIMUM_SCRYPT_BYTES,
            dklen=size,
        )
    except (ValueError, MemoryError) as error:
        raise over_limit("scrypt refuses its parameters") from error
