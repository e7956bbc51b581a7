"""Opens what a passphrase shuts: PBES1 and PBES2 (RFC 8018), PKCS#12 PBE (RFC 7292 appendix C).

Serves encrypted PKCS#8 keys and the safes of PKCS#12 alike. A wrong passphrase
passes the padding once in 256 times: the caller looks at what came out.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator

from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4, Camellia, TripleDES
from cryptography.hazmat.primitives.ciphers import BlockCipherAlgorithm, Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC

from sectool.asn1 import tags
from sectool.asn1.tree import Node
from sectool.cms import rc2
from sectool.keys.derivation import (
    HASHES,
    PKCS12Derivation,
    Purpose,
    bmp_forms,
    count_rounds,
    hmac_hash,
    pbkdf1,
    read_derivation,
    text_forms,
)
from sectool.keys.problems import damaged, unsupported
from sectool.values import dataclass

_PBES2 = "1.2.840.113549.1.5.13"
_PBMAC1 = "1.2.840.113549.1.5.14"
_RC2_CBC = "1.2.840.113549.3.2"
_RC2_DEFAULT_BITS = 32
"""RFC 8018 appendix B.2.3: where the parameters name no version."""

Decryption = Callable[[bytes, bytes, bytes], bytes]
"""From key, initialisation vector and ciphertext to plaintext with its padding."""


@dataclass(frozen=True, slots=True)
class _Encryption:
    """A cipher with the sizes it asks for, in bytes."""

    decrypt: Decryption
    key_bytes: int
    block_bytes: int
    """Also of the initialisation vector; 0 for a stream cipher, which has no padding."""


def _block_cipher(algorithm: Callable[[bytes], BlockCipherAlgorithm]) -> Decryption:
    def decrypt(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
        decryptor = Cipher(algorithm(key), CBC(iv)).decryptor()
        return decryptor.update(ciphertext) + decryptor.finalize()

    return decrypt


def _des(key: bytes) -> BlockCipherAlgorithm:
    """DES with one, two or three keys."""
    return TripleDES((key * 3)[:24])


def _rc4(key: bytes, _iv: bytes, ciphertext: bytes) -> bytes:
    return Cipher(ARC4(key), None).decryptor().update(ciphertext)


def _rc2(effective_bits: int) -> Decryption:
    def decrypt(key: bytes, iv: bytes, ciphertext: bytes) -> bytes:
        decryptor = rc2.RC2Decryptor(key, effective_bits, iv)
        return decryptor.update(ciphertext) + decryptor.finalize()

    return decrypt


_PKCS12_PBE = {
    "1.2.840.113549.1.12.1.1": _Encryption(_rc4, 16, 0),
    "1.2.840.113549.1.12.1.2": _Encryption(_rc4, 5, 0),
    "1.2.840.113549.1.12.1.3": _Encryption(_block_cipher(_des), 24, 8),
    "1.2.840.113549.1.12.1.4": _Encryption(_block_cipher(_des), 16, 8),
    "1.2.840.113549.1.12.1.5": _Encryption(_rc2(128), 16, 8),
    "1.2.840.113549.1.12.1.6": _Encryption(_rc2(40), 5, 8),
}
_PBES1 = {
    "1.2.840.113549.1.5.3": ("md5", _Encryption(_block_cipher(_des), 8, 8)),
    "1.2.840.113549.1.5.6": ("md5", _Encryption(_rc2(64), 8, 8)),
    "1.2.840.113549.1.5.10": ("sha1", _Encryption(_block_cipher(_des), 8, 8)),
    "1.2.840.113549.1.5.11": ("sha1", _Encryption(_rc2(64), 8, 8)),
}
_PBES2_CIPHERS = {
    "2.16.840.1.101.3.4.1.2": _Encryption(_block_cipher(AES), 16, 16),
    "2.16.840.1.101.3.4.1.22": _Encryption(_block_cipher(AES), 24, 16),
    "2.16.840.1.101.3.4.1.42": _Encryption(_block_cipher(AES), 32, 16),
    "1.2.392.200011.61.1.1.1.2": _Encryption(_block_cipher(Camellia), 16, 16),
    "1.2.392.200011.61.1.1.1.3": _Encryption(_block_cipher(Camellia), 24, 16),
    "1.2.392.200011.61.1.1.1.4": _Encryption(_block_cipher(Camellia), 32, 16),
    "1.2.840.113549.3.7": _Encryption(_block_cipher(_des), 24, 8),
    "1.3.14.3.2.7": _Encryption(_block_cipher(_des), 8, 8),
}

_PEM_CIPHERS = {
    "AES-128-CBC": _Encryption(_block_cipher(AES), 16, 16),
    "AES-192-CBC": _Encryption(_block_cipher(AES), 24, 16),
    "AES-256-CBC": _Encryption(_block_cipher(AES), 32, 16),
    "CAMELLIA-128-CBC": _Encryption(_block_cipher(Camellia), 16, 16),
    "CAMELLIA-192-CBC": _Encryption(_block_cipher(Camellia), 24, 16),
    "CAMELLIA-256-CBC": _Encryption(_block_cipher(Camellia), 32, 16),
    "DES-EDE3-CBC": _Encryption(_block_cipher(_des), 24, 8),
    "DES-CBC": _Encryption(_block_cipher(_des), 8, 8),
    "RC2-CBC": _Encryption(_rc2(128), 16, 8),
    "RC2-64-CBC": _Encryption(_rc2(64), 8, 8),
    "RC2-40-CBC": _Encryption(_rc2(40), 5, 8),
}


def decryptions(algorithm: Node, ciphertext: bytes, passphrase: str) -> Iterator[bytes]:
    """What each form of the passphrase makes of the ciphertext, where the padding fits.

    Args:
        algorithm: the AlgorithmIdentifier.
        ciphertext: of any length.
        passphrase: may be empty.

    Raises:
        KeyFileError: the algorithm is unknown, damaged or over a limit.
        BudgetExceeded: no more is derived for the file.
    """
    kind, parameters = algorithm.pair("an encryption algorithm has no parameters")
    name = kind.object_identifier()
    if name == _PBES2:
        plaintexts = _pbes2(parameters, ciphertext, passphrase)
    elif name in _PKCS12_PBE:
        plaintexts = _pkcs12(_PKCS12_PBE[name], parameters, ciphertext, passphrase)
    elif name in _PBES1:
        plaintexts = _pbes1(_PBES1[name], parameters, ciphertext, passphrase)
    else:
        raise unsupported(f"the encryption algorithm {name}")
    return (plaintext for plaintext in plaintexts if plaintext is not None)


def _pbes2(parameters: Node, ciphertext: bytes, passphrase: str) -> Iterator[bytes | None]:
    derivation, cipher = parameters.pair("the parameters of PBES2 are not two")
    derive = read_derivation(derivation)
    encryption, iv = _read_cipher(cipher, derivation)
    # NSS before 3.31 derives from the form that is meant for the older encryptions.
    for form in dict.fromkeys([*text_forms(passphrase), *bmp_forms(passphrase)]):
        yield _opened(encryption, derive(form, encryption.key_bytes), iv, ciphertext)


def _read_cipher(algorithm: Node, derivation: Node) -> tuple[_Encryption, bytes]:
    """Cipher of PBES2 and its initialisation vector."""
    parts = algorithm.pair("the cipher of PBES2 has no parameters")
    name = parts[0].object_identifier()
    if name == _RC2_CBC:
        encryption, iv = _read_rc2(parts[1], derivation)
    elif name in _PBES2_CIPHERS:
        encryption, iv = _PBES2_CIPHERS[name], parts[1].expect(tags.OCTET_STRING).octets()
    else:
        raise unsupported(f"the cipher {name}")
    if len(iv) != encryption.block_bytes:
        raise damaged("the initialisation vector has a wrong size")
    return encryption, iv


def _read_rc2(parameters: Node, derivation: Node) -> tuple[_Encryption, bytes]:
    """RC2 takes its key size from the derivation, where that says one."""
    *version, iv = parameters.expect(tags.SEQUENCE).children() or [parameters]
    bits = rc2.effective_key_bits(version[0].integer()) if version else _RC2_DEFAULT_BITS
    sizes = [
        node.integer()
        for node in derivation.children()[1].children()[2:]
        if node.tag == tags.INTEGER
    ]
    key_bytes = sizes[0] if sizes else max(bits // 8, 1)
    if bits not in rc2.EFFECTIVE_BITS or key_bytes not in rc2.KEY_SIZES:
        raise unsupported(f"RC2 with {bits} bits and a key of {key_bytes} bytes")
    return _Encryption(_rc2(bits), key_bytes, 8), iv.octets()


def _salt_and_iterations(parameters: Node) -> tuple[bytes, int]:
    salt, iterations = parameters.pair("the parameters of an encryption are not two")
    return salt.octets(), iterations.integer()


def _pkcs12(
    encryption: _Encryption, parameters: Node, ciphertext: bytes, passphrase: str
) -> Iterator[bytes | None]:
    salt, iterations = _salt_and_iterations(parameters)
    derivation = PKCS12Derivation("sha1", salt, iterations)
    for form in bmp_forms(passphrase):
        count_rounds(iterations, salt)
        iv = b""
        if encryption.block_bytes:
            purpose = Purpose.INITIALISATION_VECTOR
            iv = derivation.derive(form, purpose, encryption.block_bytes)
        for key in derivation.derivations(form, Purpose.KEY, encryption.key_bytes):
            yield _opened(encryption, key, iv, ciphertext)


def _pbes1(
    scheme: tuple[str, _Encryption], parameters: Node, ciphertext: bytes, passphrase: str
) -> Iterator[bytes | None]:
    hash_name, encryption = scheme
    salt, iterations = _salt_and_iterations(parameters)
    for form in text_forms(passphrase):
        count_rounds(iterations, salt)
        derived = pbkdf1(hash_name, form, salt, iterations)
        yield _opened(encryption, derived[:8], derived[8:], ciphertext)


def pem_decryptions(name: str, iv: bytes, ciphertext: bytes, passphrase: str) -> Iterator[bytes]:
    """As ``decryptions``, for keys that OpenSSL encrypted as a whole PEM block.

    Args:
        name: the cipher in ``DEK-Info``.
        iv: its initialisation vector; the first 8 bytes salt the key, which
            MD5 derives in one round (EVP_BytesToKey).
        ciphertext: of any length.
        passphrase: may be empty.
    """
    if name not in _PEM_CIPHERS:
        raise unsupported(f"the cipher {name[:40]} of a PEM key")
    encryption = _PEM_CIPHERS[name]
    if len(iv) != encryption.block_bytes:
        raise damaged("the initialisation vector has a wrong size")
    for form in text_forms(passphrase):
        key = digest = b""
        while len(key) < encryption.key_bytes:
            digest = hashlib.md5(digest + form + iv[:8], usedforsecurity=False).digest()
            key += digest
        plaintext = _opened(encryption, key[: encryption.key_bytes], iv, ciphertext)
        if plaintext is not None:
            yield plaintext


def _opened(encryption: _Encryption, key: bytes, iv: bytes, ciphertext: bytes) -> bytes | None:
    """Plaintext without padding; None where the padding does not fit."""
    block_bytes = encryption.block_bytes
    if not block_bytes:
        return encryption.decrypt(key, iv, ciphertext)
    if not ciphertext or len(ciphertext) % block_bytes:
        raise damaged("a ciphertext does not fill its blocks")
    padded = encryption.decrypt(key, iv, ciphertext)
    size = padded[-1]
    if not 1 <= size <= block_bytes or padded[-size:] != bytes([size]) * size:
        return None
    return padded[:-size]


def mac_fits(mac_data: Node, content: bytes, passphrase: str) -> bool:
    """Whether any form of the passphrase makes the MAC of a PKCS#12 (RFC 7292 section 4).

    Raises:
        KeyFileError: the algorithm is unknown, damaged or over a limit.
        BudgetExceeded: no more is derived for the file.
    """
    parts = mac_data.expect(tags.SEQUENCE).children()
    info = parts[0].children() if parts else []
    if len(parts) < 2 or len(info) != 2:
        raise damaged("the MAC of the PKCS#12 file has no value")
    algorithm, expected = info[0].children(), info[1].octets()
    name = algorithm[0].object_identifier() if algorithm else ""
    if name == _PBMAC1:
        made = _pbmac1(algorithm[1:], content, passphrase)
    elif name in HASHES:
        iterations = parts[2].integer() if len(parts) > 2 else 1
        made = _pkcs12_mac(HASHES[name], (parts[1].octets(), iterations), content, passphrase)
    else:
        raise unsupported(f"the MAC algorithm {name}")
    return any(hmac.compare_digest(mac, expected) for mac in made)


def _pkcs12_mac(
    hash_name: str, parameters: tuple[bytes, int], content: bytes, passphrase: str
) -> Iterator[bytes]:
    salt, iterations = parameters
    derivation = PKCS12Derivation(hash_name, salt, iterations)
    size = hashlib.new(hash_name).digest_size
    for form in bmp_forms(passphrase):
        count_rounds(iterations, salt)
        key = derivation.derive(form, Purpose.MAC, size)
        yield hmac.digest(key, content, hash_name)


def _pbmac1(parameters: list[Node], content: bytes, passphrase: str) -> Iterator[bytes]:
    """RFC 9579."""
    parts = parameters[0].expect(tags.SEQUENCE).children() if parameters else []
    if len(parts) != 2:
        raise damaged("the parameters of PBMAC1 are not two")
    derive, hash_name = read_derivation(parts[0]), hmac_hash(parts[1])
    sizes = [n.integer() for n in parts[0].children()[1].children()[2:] if n.tag == tags.INTEGER]
    # RFC 9579 section 6: the size must stand there, and shorter keys can be guessed.
    if not sizes or not 20 <= sizes[0] <= 1024:
        raise damaged("the key size of PBMAC1 is missing or unsafe")
    for form in text_forms(passphrase):
        yield hmac.digest(derive(form, sizes[0]), content, hash_name)
