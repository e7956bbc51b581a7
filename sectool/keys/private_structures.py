"""Reads the structures of private keys as programs write them, and makes the key they mean.

RFC 5958 (PKCS#8, both versions), RFC 8017 appendix A.1.2 (RSA), RFC 5915
(elliptic curves), RFC 8410 (X25519 and its kin), in BER. Lenient in how a number
is written, never in what the numbers are: the halves of a key must belong
together, and a public key beside it must be its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ObjectIdentifier

from sectool.asn1 import der, tags
from sectool.asn1.tree import Node
from sectool.budget import Work, current
from sectool.errors import SectoolError
from sectool.keys import ber, limits
from sectool.keys.problems import KeyFileError, damaged, over_limit, unsupported
from sectool.values import dataclass

_RSA = frozenset(
    {"1.2.840.113549.1.1.1", "1.2.840.113549.1.1.7", "1.2.840.113549.1.1.10", "2.5.8.1.1"}
)
"""rsaEncryption, RSAES-OAEP, RSASSA-PSS and the rsa of X.509: one structure of key."""
_ELLIPTIC = frozenset({"1.2.840.10045.2.1", "1.3.132.1.12", "1.3.132.1.13"})
"""id-ecPublicKey, id-ecDH, id-ecMQV (RFC 5480)."""
_FromBytes = Callable[[bytes], PrivateKeyTypes]
_RAW: dict[str, tuple[int, _FromBytes]] = {
    "1.3.101.110": (32, x25519.X25519PrivateKey.from_private_bytes),
    "1.3.101.111": (56, x448.X448PrivateKey.from_private_bytes),
    "1.3.101.112": (32, ed25519.Ed25519PrivateKey.from_private_bytes),
    "1.3.101.113": (57, ed448.Ed448PrivateKey.from_private_bytes),
}
"""RFC 8410 section 3: bytes of the key, and what makes it."""
_CURVES = (
    *(ec.SECP256R1, ec.SECP384R1, ec.SECP521R1, ec.SECP224R1, ec.SECP192R1, ec.SECP256K1),
    *(ec.BrainpoolP256R1, ec.BrainpoolP384R1, ec.BrainpoolP512R1),
)
"""Looked through where a key writes its curve out in numbers."""
_RSA_NUMBERS = 9

KnownKeys = dict[tuple[int, int], rsa.RSAPrivateKey]
"""RSA keys that were checked, by modulus and public exponent: to check one takes long."""


@dataclass(frozen=True, slots=True)
class PrivateStructure:
    """One private key as it was found."""

    algorithm: Node | None
    """The AlgorithmIdentifier; None in the structures older than PKCS#8."""
    private: Node
    """RSAPrivateKey, ECPrivateKey or whatever else the algorithm says."""
    octets: bytes
    """What ``private`` was read from."""
    public: Node | None
    """The public key of version 2 (RFC 5958 section 2), in place of a BIT STRING."""

    @property
    def name(self) -> str:
        """Object identifier of the algorithm; empty where none is told."""
        if self.algorithm is None:
            return ""
        return self.algorithm.children()[0].object_identifier()


def read_structure(encoded: bytes | memoryview) -> PrivateStructure:
    """The parts of a private key that is not encrypted; what lies behind it is dropped.

    Raises:
        KeyFileError: it has none of the known forms.
    """
    node = ber.read(encoded).expect(tags.SEQUENCE)
    parts = list(_leading(node, 5))
    shape = [part.tag for part in parts]
    if shape[:3] != [tags.INTEGER, tags.SEQUENCE, tags.OCTET_STRING]:
        return PrivateStructure(None, node, bytes(node.encoding), None)
    octets = parts[2].octets()
    public = next((part for part in parts[3:] if part.tag == tags.context(1)), None)
    if not parts[1].children():
        raise damaged("a private key does not tell its algorithm")
    return PrivateStructure(parts[1], _inner(octets), octets, public)


def make_key(structure: PrivateStructure, known: KnownKeys) -> PrivateKeyTypes | None:
    """The key, its numbers checked; None for a kind whose structure is not known here.

    Args:
        structure: of the key.
        known: keys that were checked before; takes this one.

    Raises:
        KeyFileError: damaged, contradicting itself, or over a limit.
        BudgetExceeded: no more keys of the file are checked.
    """
    name, private = structure.name, structure.private
    try:
        if name in _RAW:
            key: PrivateKeyTypes = _raw_key(structure, *_RAW[name])
        elif name in _ELLIPTIC or (not name and _looks_elliptic(private)):
            key = _elliptic_key(structure)
        elif name in _RSA or (not name and _looks_like_rsa(private)):
            key = _rsa_key(private, known)
        else:
            return None
        if structure.public is not None:
            check_public(key, structure.public)
    except UnsupportedAlgorithm as error:
        raise unsupported("a private key of a kind that is not known here") from error
    except (ValueError, TypeError, OverflowError) as error:
        raise damaged("the numbers of a private key are out of range") from error
    return key


def _inner(octets: bytes) -> Node:
    """The value in the octet string; some leave its wrapper away around bare bytes."""
    try:
        return ber.read(octets)
    except SectoolError:
        return ber.read(der.element(tags.OCTET_STRING, octets))


def _leading(node: Node, most: int) -> Iterator[Node]:
    """The first values of a SEQUENCE, up to what is no value any more: bytes may follow."""
    values = node.values()
    try:
        for _ in range(most):
            value = next(values, None)
            if value is None or not value.tag:
                return
            yield value
    except KeyFileError:
        return


# --- RSA ---------------------------------------------------------------------------


def _looks_like_rsa(node: Node) -> bool:
    """Tells it from a DSA key, which has six numbers."""
    shape = [part.tag for part in _leading(node, _RSA_NUMBERS)]
    return set(shape) == {tags.INTEGER} and len(shape) in {4, _RSA_NUMBERS}


_BASES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53)
"""Of which all miss the primes of a sound key once in some ten thousand."""


def rsa_weight(bits: int) -> int:
    """How many operations of RSA-2048 one takes with a modulus of so many bits."""
    return max(1, -(-(bits**3) // 2048**3))


def _rsa_key(node: Node, known: KnownKeys) -> rsa.RSAPrivateKey:
    """RSAPrivateKey; what the Chinese remainder theorem needs is made anew.

    Some write it as zeros or wrong, and nobody notices: OpenSSL falls back to the
    private exponent.
    """
    parts = list(_leading(node.expect(tags.SEQUENCE), _RSA_NUMBERS + 1))
    numbers = [part.unsigned() for part in parts[:_RSA_NUMBERS] if part.tag == tags.INTEGER]
    if len(numbers) < 4:
        raise damaged("an RSA private key lacks numbers")
    if len(parts) > _RSA_NUMBERS and parts[_RSA_NUMBERS].tag == tags.SEQUENCE:
        raise unsupported("an RSA private key of more than two primes")
    _, modulus, exponent, secret, p, q = (*numbers, 0, 0)[:6]
    bits = modulus.bit_length()
    if bits > limits.MAXIMUM_RSA_BITS:
        raise over_limit(f"an RSA key of {bits} bits")
    if max(exponent.bit_length(), secret.bit_length() // 2, p.bit_length(), q.bit_length()) > bits:
        raise damaged("a number of an RSA private key is larger than its modulus")
    if key := known.get((modulus, exponent)):
        return key
    current().spend(Work.VALIDATION, rsa_weight(bits))
    if min(p, q) < 2 or p * q != modulus:
        p, q = _recovered_primes(modulus, exponent, secret)
    order = math.lcm(p - 1, q - 1)
    if exponent * secret % order != 1:
        raise damaged("the exponents of an RSA private key do not belong together")
    key = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=secret if secret < modulus else secret % order,
        dmp1=secret % (p - 1),
        dmq1=secret % (q - 1),
        iqmp=pow(q, -1, p),
        public_numbers=rsa.RSAPublicNumbers(exponent, modulus),
    ).private_key(unsafe_skip_rsa_key_validation=bits > limits.MAXIMUM_VALIDATED_RSA_BITS)
    known[modulus, exponent] = key
    return key


def _recovered_primes(modulus: int, exponent: int, secret: int) -> tuple[int, int]:
    """The primes, from the exponents alone (NIST SP 800-56B, appendix C.1).

    Any number to the power of e d - 1 is one. Of the square roots of one that lie on the way
    there about every second begins with one that tells the primes apart.

    Raises:
        KeyFileError: they cannot be found, since the numbers do not belong together.
        BudgetExceeded: no more keys of the file are checked.
    """
    power = exponent * secret - 1
    zeros = (power & -power).bit_length() - 1
    bits = modulus.bit_length()
    weight = max(1, rsa_weight(bits) * power.bit_length() // bits)
    for base in _BASES if power > 0 and zeros and modulus & 1 else ():
        current().spend(Work.VALIDATION, weight)
        root = pow(base, power >> zeros, modulus)
        for _ in range(zeros):
            root, below = root * root % modulus, root
            if root == 1:
                break
        if root != 1:
            break
        p = math.gcd(below - 1, modulus)
        if 1 < p < modulus:
            return p, modulus // p
    raise damaged("the modulus of an RSA private key is not made of its primes or exponents")


# --- elliptic curves and their kin --------------------------------------------------


def _looks_elliptic(node: Node) -> bool:
    return [part.tag for part in _leading(node, 2)] == [tags.INTEGER, tags.OCTET_STRING]


def _elliptic_key(structure: PrivateStructure) -> ec.EllipticCurvePrivateKey:
    """ECPrivateKey; its scalar is a number, however many zeros stand before it."""
    parts = list(_leading(structure.private.expect(tags.SEQUENCE), 4))
    if len(parts) < 2:
        raise damaged("an elliptic curve private key lacks its number")
    scalar = int.from_bytes(parts[1].expect(tags.OCTET_STRING).octets(), "big")
    inner = [part.only_child() for part in parts[2:] if part.tag == tags.context(0)]
    outer = [] if structure.algorithm is None else structure.algorithm.children()[1:2]
    curves = [_curve(node) for node in (*outer, *inner) if node.tag in _NAMES_A_CURVE]
    if not curves:
        raise damaged("an elliptic curve private key does not tell its curve")
    if any(curve.name != curves[0].name for curve in curves):
        raise damaged("an elliptic curve private key names two curves")
    if scalar.bit_length() > curves[0].key_size + 8:
        raise damaged("the number of an elliptic curve private key is out of range")
    current().spend(Work.VALIDATION)
    key = ec.derive_private_key(scalar, curves[0])
    for part in parts[2:]:
        if part.tag == tags.context(1):
            check_public(key, part.only_child())
    return key


_NAMES_A_CURVE = frozenset({tags.OBJECT_IDENTIFIER, tags.SEQUENCE})


def _curve(node: Node) -> ec.EllipticCurve:
    if node.tag == tags.SEQUENCE:
        return _curve_of_generator(node)
    name = node.object_identifier()
    try:
        return ec.get_curve_for_oid(ObjectIdentifier(name))()
    except LookupError as error:
        raise unsupported(f"a private key on the elliptic curve {name}") from error


def _curve_of_generator(parameters: Node) -> ec.EllipticCurve:
    """A curve that is written out in numbers (SEC 1 appendix C.2), by its base point.

    Nothing rests on the other numbers: the key is made on the curve of the name,
    and a public key beside it must be its own there.
    """
    parts = list(_leading(parameters, 5))
    point = parts[3].octets() if len(parts) > 3 else b""
    kind = _curves_by_generator().get(point)
    if kind is None:
        raise unsupported("a private key on an elliptic curve without a name")
    return kind()


@cache
def _curves_by_generator() -> dict[bytes, type[ec.EllipticCurve]]:
    found: dict[bytes, type[ec.EllipticCurve]] = {}
    for kind in _CURVES:
        with suppress(UnsupportedAlgorithm):
            found.update(dict.fromkeys(_forms(ec.derive_private_key(1, kind())), kind))
    return found


def _raw_key(structure: PrivateStructure, size: int, make: _FromBytes) -> PrivateKeyTypes:
    """CurvePrivateKey of RFC 8410 section 7, or its bytes alone."""
    octets = structure.octets
    if len(octets) != size:
        octets = structure.private.expect(tags.OCTET_STRING).octets()
    return make(octets)


# --- the public half ------------------------------------------------------------------


def check_public(key: PrivateKeyTypes, node: Node) -> None:
    """Holds the public key that stands beside a private key against it.

    Raises:
        KeyFileError: it is another one.
    """
    told, unused = node.bit_string()
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.public_key().public_numbers()
        parts = ber.read(told).expect(tags.SEQUENCE).children()
        fits = [part.unsigned() for part in parts[:2]] == [numbers.n, numbers.e]
    else:
        fits = any(_agree(told, own, unused) for own in _forms(key))
    if not fits:
        raise damaged("the public key beside a private key is not its own")


def _agree(told: bytes, own: bytes, unused: int) -> bool:
    """Equal but for bits that the one does not tell; zero bytes may stand behind."""
    if len(told) > len(own) and not any(told[len(own) :]):
        told = told[: len(own)]
    mask = 0xFF << unused & 0xFF
    return len(told) == len(own) and told[:-1] == own[:-1] and told[-1] & mask == own[-1] & mask


def _forms(key: PrivateKeyTypes) -> list[bytes]:
    """The public key in every form it may be written in (SEC 1 section 2.3.3)."""
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        public = key.public_key()
        return [public.public_bytes(Encoding.Raw, PublicFormat.Raw)]
    point = key.public_key()
    whole = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    short = point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    hybrid = bytes([short[0] | 4]) + whole[1:]
    return [whole, short, hybrid]
