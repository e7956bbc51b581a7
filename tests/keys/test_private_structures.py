"""Private keys as programs write them: the numbers count, and they must belong together."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, strategies as st

from sectool.asn1 import der, tags
from sectool.errors import SectoolError, UsageError
from sectool.keys import ber, limits
from sectool.keys.history import KeyHistory
from sectool.keys.private_keys import encode_private_key, encode_public_key, load_private_key
from sectool.keys.problems import KeyFileError
from tests.keys.conftest import pkcs8

RSA_ENCRYPTION = bytes.fromhex("300d06092a864886f70d0101010500")
EC_PUBLIC_KEY = bytes.fromhex("06072a8648ce3d0201")
P256 = bytes.fromhex("06082a8648ce3d030107")
P384 = bytes.fromhex("06052b81040022")
X25519 = bytes.fromhex("300506032b656e")
ZERO = der.element(tags.INTEGER, b"\0")
ONE = der.element(tags.INTEGER, b"\1")
SMALL = rsa.generate_private_key(65537, 1024)
CURVE_KEY = ec.generate_private_key(ec.SECP256R1())


def octet_string(content: bytes) -> bytes:
    return der.element(tags.OCTET_STRING, content)


def wrapped(algorithm: bytes, key: bytes, *more: bytes, version: bytes = ZERO) -> bytes:
    """PKCS#8."""
    return der.sequence(version, algorithm, octet_string(key), *more)


@dataclass(frozen=True)
class Numbers:
    """Those of an RSA key, in the order of RSAPrivateKey."""

    n: int
    e: int
    d: int
    p: int
    q: int
    dp: int
    dq: int
    qi: int

    @classmethod
    def of(cls, key: rsa.RSAPrivateKey) -> Numbers:
        own = key.private_numbers()
        public = own.public_numbers
        return cls(public.n, public.e, own.d, own.p, own.q, own.dmp1, own.dmq1, own.iqmp)

    def encoded(self, write: Callable[[int], bytes] = der.integer) -> bytes:
        values = (self.n, self.e, self.d, self.p, self.q, self.dp, self.dq, self.qi)
        return der.sequence(ZERO, *map(write, values))


GOOD = Numbers.of(SMALL)


def unsigned_integer(number: int) -> bytes:
    """Without the zero that keeps it positive."""
    return der.element(tags.INTEGER, number.to_bytes((number.bit_length() + 7) // 8, "big"))


def padded_integer(number: int) -> bytes:
    return der.element(tags.INTEGER, bytes(3) + number.to_bytes(200, "big"))


def indefinite(identifier: int, *parts: bytes) -> bytes:
    return bytes([identifier | 0x20, 0x80]) + b"".join(parts) + b"\0\0"


def in_pieces(content: bytes) -> bytes:
    cut = len(content) // 3
    pieces = (content[:cut], content[cut : 2 * cut], content[2 * cut :])
    return indefinite(tags.OCTET_STRING, *map(octet_string, pieces))


WITHOUT_PRIMES = replace(GOOD, p=0, q=0, dp=0, dq=0, qi=0)
WRITINGS: dict[str, bytes] = {
    "needless zeros": GOOD.encoded(padded_integer),
    "unsigned": GOOD.encoded(unsigned_integer),
    "no primes": WITHOUT_PRIMES.encoded(),
    "three numbers only": der.sequence(
        ZERO, *map(der.integer, (GOOD.n, GOOD.e, GOOD.d))
    ),
    "wrong exponents of the primes": replace(GOOD, dp=3, dq=5).encoded(),
    "wrong coefficient": replace(GOOD, qi=GOOD.qi + 1).encoded(),
    "coefficient of the other prime": replace(GOOD, qi=pow(GOOD.p, -1, GOOD.q)).encoded(),
    "a wrong prime": replace(GOOD, p=GOOD.p + 2).encoded(),
    "one as a prime": replace(GOOD, p=1, q=GOOD.n).encoded(),
    "bytes behind": GOOD.encoded() + b"\0\0\0",
    "words behind": GOOD.encoded() + b"and more",
    "zeros behind, inside": der.element(
        0x30, bytes(ber.read(GOOD.encoded()).content) + b"\0\0\0\0\0"
    ),
    "another version": b"".join(
        [b"\x30", GOOD.encoded()[1:4], b"\2\1\x11", GOOD.encoded()[7:]]
    ),
    "PKCS#8": wrapped(RSA_ENCRYPTION, GOOD.encoded()),
    "PKCS#8, bytes behind the key": wrapped(RSA_ENCRYPTION, GOOD.encoded() + bytes(9)),
    "PKCS#8, bytes behind": wrapped(RSA_ENCRYPTION, GOOD.encoded()) + bytes(5),
    "PKCS#8 without parameters": wrapped(
        der.sequence(RSA_ENCRYPTION[2:-2]), GOOD.encoded(unsigned_integer)
    ),
    "PKCS#8, RSAES-OAEP": wrapped(
        bytes.fromhex("300d06092a864886f70d0101073000"), GOOD.encoded()
    ),
    "PKCS#8 with attributes": wrapped(RSA_ENCRYPTION, GOOD.encoded(), b"\xa0\0"),
    "PKCS#8 in BER": indefinite(
        tags.SEQUENCE, ZERO, RSA_ENCRYPTION, in_pieces(GOOD.encoded(padded_integer))
    ),
    "all of it in BER": indefinite(
        tags.SEQUENCE, ZERO, RSA_ENCRYPTION, in_pieces(indefinite(
            tags.SEQUENCE, bytes(ber.read(GOOD.encoded()).content)
        )),
    ),
    "PKCS#8 of version 2": wrapped(
        RSA_ENCRYPTION,
        GOOD.encoded(),
        der.element(tags.context(1), b"\0" + der.sequence(
            der.integer(GOOD.n), padded_integer(GOOD.e)
        )),
        version=ONE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("encoded", WRITINGS.values(), ids=WRITINGS)
def test_an_rsa_key_is_the_same_however_it_is_written(encoded: bytes) -> None:
    # The primes may come out in the other order; nothing else may be another.
    key = load_private_key(encoded)
    assert isinstance(key, rsa.RSAPrivateKey)
    own = key.private_numbers()
    assert own.public_numbers == SMALL.private_numbers().public_numbers
    assert {own.p, own.q} == {GOOD.p, GOOD.q}
    assert own.iqmp * own.q % own.p == 1


@pytest.mark.parametrize("exponent", [3, 17, 65537, (1 << 61) - 1])
@pytest.mark.parametrize("multiple", ["lcm", "product", "more"])
def test_the_primes_are_found_whatever_the_exponents(exponent: int, multiple: str) -> None:
    for key in ALL:
        totient = (key.p - 1) * (key.q - 1)
        if math.gcd(totient, exponent) > 1:
            continue
        least = {"lcm": lcm_of(key), "product": totient, "more": totient}[multiple]
        secret = pow(exponent, -1, least) + (3 * lcm_of(key) if multiple == "more" else 0)
        numbers = replace(WITHOUT_PRIMES, n=key.n, e=exponent, d=secret)
        loaded = load_private_key(numbers.encoded())
        assert isinstance(loaded, rsa.RSAPrivateKey)
        assert {loaded.private_numbers().p, loaded.private_numbers().q} == {key.p, key.q}


def lcm_of(numbers: Numbers) -> int:
    return math.lcm(numbers.p - 1, numbers.q - 1)


ALL = [GOOD, *(Numbers.of(rsa.generate_private_key(65537, 1024)) for _ in range(4))]
OTHER = rsa.generate_private_key(65537, 1024).private_numbers()
CONTRADICTIONS: dict[str, bytes] = {
    "another modulus": replace(GOOD, n=GOOD.n + 2).encoded(),
    "a modulus without its primes": replace(WITHOUT_PRIMES, n=GOOD.n + 2).encoded(),
    "another public exponent": replace(GOOD, e=3).encoded(),
    "another private exponent": replace(GOOD, d=GOOD.d + 2).encoded(),
    "another private exponent, no primes": replace(WITHOUT_PRIMES, d=GOOD.d + 2).encoded(),
    "the primes of another key, and its exponent": replace(
        GOOD, p=OTHER.p, q=OTHER.q, d=OTHER.d
    ).encoded(),
    "no private exponent": replace(GOOD, d=0).encoded(),
    "an exponent of one": replace(WITHOUT_PRIMES, e=1, d=1).encoded(),
    "a prime for a modulus": replace(
        WITHOUT_PRIMES, n=GOOD.p, e=65537, d=pow(65537, -1, GOOD.p - 1)
    ).encoded(),
    "an even modulus": replace(WITHOUT_PRIMES, n=GOOD.n + 1).encoded(),
    "an exponent that is too large": replace(GOOD, d=GOOD.d + (lcm_of(GOOD) << 2000)).encoded(),
    "two numbers": der.sequence(ZERO, der.integer(GOOD.n)),
    "PKCS#8 with two numbers": wrapped(
        RSA_ENCRYPTION, der.sequence(ZERO, der.integer(GOOD.n))
    ),
    "more than two primes": der.element(
        0x30, bytes(ber.read(GOOD.encoded()).content) + der.sequence()
    ),
    "the public key of another": wrapped(
        RSA_ENCRYPTION,
        GOOD.encoded(),
        der.element(tags.context(1), b"\0" + der.sequence(
            der.integer(GOOD.n + 2), der.integer(GOOD.e)
        )),
    ),
    "no algorithm": wrapped(der.sequence(), GOOD.encoded()),
    "primes that are none": replace(GOOD, n=15 * 77, p=15, q=77, e=7, d=163).encoded(),
}  # fmt: skip


@pytest.mark.parametrize("encoded", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_key_that_contradicts_itself_is_refused_with_the_reason(encoded: bytes) -> None:
    with pytest.raises(KeyFileError) as caught:
        load_private_key(encoded)
    assert caught.value.message


@pytest.mark.parametrize(
    ("bits", "numbers"),
    [
        (limits.MAXIMUM_RSA_BITS + 1, GOOD),
        (2 * limits.MAXIMUM_RSA_BITS, WITHOUT_PRIMES),
    ],
    ids=["too large", "too large, without its primes"],
)
def test_a_modulus_over_a_limit_is_told(bits: int, numbers: Numbers) -> None:
    with pytest.raises(KeyFileError, match=f"RSA key of {bits} bits"):
        load_private_key(replace(numbers, n=(1 << bits) - 1).encoded())


def elliptic(
    scalar: bytes,
    *more: bytes,
    curve: bytes = P256,
    algorithm: bytes = EC_PUBLIC_KEY,
) -> bytes:
    parts = der.sequence(ONE, scalar, *more)
    return wrapped(der.sequence(algorithm, curve), parts)


def scalar_of(key: ec.EllipticCurvePrivateKey, size: int) -> bytes:
    return key.private_numbers().private_value.to_bytes(size, "big")


def point_of(key: ec.EllipticCurvePrivateKey, form: PublicFormat) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, form)


def explicit(content: bytes, number: int) -> bytes:
    return der.element(tags.context(number) | 0x20, content)


def bit_string(content: bytes, unused: int = 0) -> bytes:
    return der.element(tags.BIT_STRING, bytes([unused]) + content)


SCALAR = octet_string(scalar_of(CURVE_KEY, 32))
POINT = point_of(CURVE_KEY, PublicFormat.UncompressedPoint)
SHORT = point_of(CURVE_KEY, PublicFormat.CompressedPoint)
GENERATOR = point_of(ec.derive_private_key(1, ec.SECP256R1()), PublicFormat.UncompressedPoint)
WRITTEN_OUT = der.sequence(
    ONE,
    der.sequence(bytes.fromhex("06072a8648ce3d0101"), der.integer(23)),
    der.sequence(octet_string(b"a"), octet_string(b"b")),
    octet_string(GENERATOR),
    der.integer(29),
)
CURVE_WRITINGS: dict[str, bytes] = {
    "one zero too many": elliptic(octet_string(scalar_of(CURVE_KEY, 33))),
    "many zeros": elliptic(octet_string(scalar_of(CURVE_KEY, 80))),
    "in pieces": elliptic(in_pieces(scalar_of(CURVE_KEY, 32))),
    "unused bits": elliptic(SCALAR, explicit(bit_string(POINT, 2), 1)),
    "zeros behind the point": elliptic(SCALAR, explicit(bit_string(POINT + bytes(3)), 1)),
    "compressed": elliptic(SCALAR, explicit(bit_string(SHORT), 1)),
    "hybrid": elliptic(SCALAR, explicit(bit_string(bytes([SHORT[0] | 4]) + POINT[1:]), 1)),
    "point in pieces": elliptic(
        SCALAR,
        explicit(indefinite(tags.BIT_STRING, bit_string(POINT[:9]), bit_string(POINT[9:])), 1),
    ),
    "the curve twice": elliptic(SCALAR, explicit(P256, 0)),
    "the curve inside only": elliptic(SCALAR, explicit(P256, 0), curve=b""),
    "the curve inside, NULL outside": elliptic(SCALAR, explicit(P256, 0), curve=b"\5\0"),
    "the curve written out": elliptic(SCALAR, curve=WRITTEN_OUT),
    "id-ecDH": elliptic(SCALAR, algorithm=bytes.fromhex("06052b8104010c")),
    "version 2": wrapped(
        der.sequence(EC_PUBLIC_KEY, P256),
        der.sequence(ONE, SCALAR),
        der.element(tags.context(1), b"\0" + SHORT),
        version=ONE,
    ),
    "zeros behind": elliptic(SCALAR) + bytes(4),
    "without PKCS#8": der.sequence(ONE, SCALAR, explicit(P256, 0)) + bytes(2),
}


@pytest.mark.parametrize("encoded", CURVE_WRITINGS.values(), ids=CURVE_WRITINGS)
def test_an_elliptic_curve_key_is_the_same_however_it_is_written(encoded: bytes) -> None:
    assert encode_private_key(load_private_key(encoded)) == encode_private_key(CURVE_KEY)


def test_a_scalar_without_its_leading_zeros_is_the_same_number() -> None:
    key = ec.derive_private_key(7, ec.SECP384R1())
    encoded = elliptic(octet_string(b"\7"), curve=P384)
    assert encode_private_key(load_private_key(encoded)) == encode_private_key(key)


CURVE_CONTRADICTIONS: dict[str, tuple[bytes, str]] = {
    "the point of another": (
        elliptic(octet_string(b"\7"), explicit(bit_string(POINT), 1)),
        "not its own",
    ),
    "a point with a bit too many": (
        elliptic(SCALAR, explicit(bit_string(POINT[:-1] + bytes([POINT[-1] ^ 0x10]), 2), 1)),
        "not its own",
    ),
    "a point cut short": (elliptic(SCALAR, explicit(bit_string(POINT[:-1]), 1)), "not its own"),
    "no point": (elliptic(SCALAR, explicit(b"\3\1\0", 1)), "not its own"),
    "two curves": (elliptic(SCALAR, explicit(P384, 0)), "two curves"),
    "no curve": (elliptic(SCALAR, curve=b""), "its curve"),
    "an unknown curve": (elliptic(SCALAR, curve=bytes.fromhex("06032a0304")), "elliptic curve"),
    "an unknown curve, written out": (
        elliptic(SCALAR, curve=der.sequence(ONE)),
        "without a name",
    ),
    "zero": (elliptic(octet_string(bytes(32))), "out of range"),
    "above the order": (elliptic(octet_string(b"\xff" * 32)), "out of range"),
    "far above": (elliptic(octet_string(b"\1" + bytes(500))), "out of range"),
    "no scalar": (elliptic(b""), "lacks its number"),
}


@pytest.mark.parametrize(
    ("encoded", "reason"), CURVE_CONTRADICTIONS.values(), ids=CURVE_CONTRADICTIONS
)
def test_an_elliptic_curve_key_that_contradicts_itself_is_refused(
    encoded: bytes, reason: str
) -> None:
    with pytest.raises(KeyFileError, match=reason):
        load_private_key(encoded)


RAW = bytes(range(32))
MONTGOMERY = x25519.X25519PrivateKey.from_private_bytes(RAW)
OWN = MONTGOMERY.public_key().public_bytes_raw()
MONTGOMERY_WRITINGS = {
    "version 1": wrapped(X25519, octet_string(RAW)),
    "its bytes alone": wrapped(X25519, RAW),
    "its public key": wrapped(
        X25519, octet_string(RAW), der.element(tags.context(1), b"\0" + OWN), version=ONE
    ),
    "attributes and its public key": wrapped(
        *(X25519, octet_string(RAW), b"\xa0\0", der.element(tags.context(1), b"\0" + OWN)),
        version=ONE,
    ),
    "its public key, in an explicit tag": wrapped(
        X25519, octet_string(RAW), explicit(bit_string(OWN), 1), version=ONE
    ),
    "in BER": indefinite(tags.SEQUENCE, ONE, X25519, in_pieces(octet_string(RAW))),
}


@pytest.mark.parametrize("encoded", MONTGOMERY_WRITINGS.values(), ids=MONTGOMERY_WRITINGS)
def test_an_x25519_key_is_the_same_however_it_is_written(encoded: bytes) -> None:
    assert encode_private_key(load_private_key(encoded)) == encode_private_key(MONTGOMERY)


@pytest.mark.parametrize(
    "encoded",
    [
        wrapped(X25519, octet_string(RAW), der.element(tags.context(1), b"\0" + RAW), version=ONE),
        wrapped(X25519, octet_string(RAW[1:])),
        wrapped(X25519, ZERO),
    ],
    ids=["public key of another", "too short", "no bytes"],
)
def test_an_x25519_key_that_contradicts_itself_is_refused(encoded: bytes) -> None:
    with pytest.raises(KeyFileError):
        load_private_key(encoded)


@pytest.mark.parametrize("own", [True, False])
def test_the_public_key_of_an_ml_kem_key_must_be_its_own(*, own: bool) -> None:
    key = mlkem.MLKEM768PrivateKey.generate()
    other = key if own else mlkem.MLKEM768PrivateKey.generate()
    told = other.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    node = ber.read(pkcs8(key))
    encoded = der.sequence(
        ONE,
        *(bytes(part.encoding) for part in node.children()[1:3]),
        der.element(tags.context(1), b"\0" + told),
    )
    if own:
        assert encode_private_key(load_private_key(encoded)) == encode_private_key(key)
    else:
        with pytest.raises(KeyFileError, match="not its own"):
            load_private_key(encoded)


@given(data=st.data())
def test_no_change_of_a_byte_makes_another_key_of_one_with_its_public_half(data: Any) -> None:
    encoded, key = data.draw(st.sampled_from([
        (GOOD.encoded(), SMALL),
        (wrapped(RSA_ENCRYPTION, GOOD.encoded()), SMALL),
        (CURVE_WRITINGS["compressed"], CURVE_KEY),
        (CURVE_WRITINGS["unused bits"], CURVE_KEY),
        (MONTGOMERY_WRITINGS["its public key"], MONTGOMERY),
    ]))  # fmt: skip
    mutant = bytearray(encoded)
    place = data.draw(st.integers(0, len(mutant) - 1))
    mutant[place] ^= data.draw(st.integers(1, 255))
    try:
        loaded = load_private_key(bytes(mutant))
    except KeyFileError:
        return
    # A tag that is another one may hide the public half, and leave a smaller structure.
    if type(loaded) is type(key) and _has_public_half(bytes(mutant)):
        assert encode_public_key(loaded) == encode_public_key(key)


def _has_public_half(encoded: bytes) -> bool:
    """Whether the structure still tells the public key where it did."""
    try:
        parts = ber.read(encoded).children()
        inner = ber.read(parts[2].octets()) if parts[1].tag == tags.SEQUENCE else ber.read(encoded)
        shape = [part.tag for part in inner.children()] if inner.constructed else []
    except (SectoolError, IndexError):
        return False
    outer = [part.tag for part in parts]
    return tags.context(1) in outer + shape or shape.count(tags.INTEGER) == 9


@given(st.binary(max_size=400))
def test_anything_else_is_refused_with_one_kind_of_error(content: bytes) -> None:
    algorithms = [RSA_ENCRYPTION, X25519, der.sequence(EC_PUBLIC_KEY, P256)]
    encodings = [content, *(wrapped(algorithm, content) for algorithm in algorithms)]
    for encoded in (*encodings, der.sequence(content), b"\x30\x80" + content):
        with contextlib.suppress(KeyFileError):
            load_private_key(encoded)


# --- held against certificates ---------------------------------------------------------

Load = Callable[..., KeyHistory]


def test_a_key_with_another_exponent_than_its_certificate_is_refused(
    certify: Any, load: Load, tmp_path: Path
) -> None:
    exponent = next(e for e in range(65539, 70000, 2) if math.gcd(e, lcm_of(GOOD)) == 1)
    numbers = replace(GOOD, e=exponent, d=pow(exponent, -1, lcm_of(GOOD)))
    key, certificate = tmp_path / "a.key", tmp_path / "a.pem"
    key.write_bytes(numbers.encoded())
    assert len(load(key)) == 1
    certificate.write_bytes(certify(SMALL).public_bytes(Encoding.PEM))
    with pytest.raises(UsageError, match="another exponent than its certificate"):
        load(key, certificate)


def test_a_certificate_whose_numbers_are_oddly_written_finds_its_key(
    certify: Any, load: Load, tmp_path: Path
) -> None:
    encoded = certify(SMALL).public_bytes(Encoding.DER)
    modulus, odd = der.integer(GOOD.n), unsigned_integer(GOOD.n)
    assert modulus in encoded
    fields = [bytes(part.encoding) for part in ber.read(encoded).children()]
    inner = [bytes(part.encoding) for part in ber.read(fields[0]).children()]
    numbers = der.sequence(odd, der.integer(GOOD.e))
    inner[6] = der.sequence(RSA_ENCRYPTION, bit_string(numbers))
    (tmp_path / "a.cer").write_bytes(der.sequence(der.sequence(*inner), *fields[1:]))
    (tmp_path / "a.key").write_bytes(GOOD.encoded())
    history = load(tmp_path)
    assert [bool(key.certificates) for key in history.keys] == [True]


@pytest.mark.parametrize("name", ["secp384r1", "secp521r1", "brainpool", "secp256k1"])
def test_a_curve_that_openssl_writes_out_is_found(
    *, name: str, key_of: dict[str, PrivateKeyTypes], encode: Any, openssl: Any, tmp_path: Path
) -> None:
    (tmp_path / "k").write_bytes(encode(key_of[name], pem=True))
    out = tmp_path / "explicit"
    openssl("ec", "-in", tmp_path / "k", "-param_enc", "explicit", "-outform", "DER", "-out", out)
    loaded = load_private_key(out.read_bytes())
    assert encode_private_key(loaded) == encode_private_key(key_of[name])
