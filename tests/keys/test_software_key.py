"""Keys decrypt, agree and decapsulate as their kind does; every failure looks the same."""

from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x448, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sectool.cms.seams import OAEP, PKCS1v15, RSAPadding
from sectool.errors import DecryptionFailed, MalformedMessage
from sectool.keys.private_keys import SoftwareKey
from tests.support.forge import asymmetric_padding

HASHES = {
    "sha1": hashes.SHA1(),
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
CONTENT_ENCRYPTION_KEY = bytes(range(32))


@pytest.mark.parametrize("name", ["rsa", "small"])
def test_pkcs1_v1_5_opens(name: str, key_of: dict[str, PrivateKeyTypes]) -> None:
    key = key_of[name]
    assert isinstance(key, rsa.RSAPrivateKey)
    encrypted = key.public_key().encrypt(CONTENT_ENCRYPTION_KEY, padding.PKCS1v15())
    assert SoftwareKey(key, "k").decrypt_rsa(encrypted, PKCS1v15()) == CONTENT_ENCRYPTION_KEY


@pytest.mark.parametrize(("hash_name", "mgf"), list(itertools.product(HASHES, repeat=2)))
@pytest.mark.parametrize("label", [b"", b"label"])
def test_oaep_opens_with_any_hashes_and_label(
    hash_name: str, mgf: str, label: bytes, rsa_key: rsa.RSAPrivateKey
) -> None:
    oaep = padding.OAEP(padding.MGF1(HASHES[mgf]), HASHES[hash_name], label)
    encrypted = rsa_key.public_key().encrypt(CONTENT_ENCRYPTION_KEY, oaep)
    opened = SoftwareKey(rsa_key, "k").decrypt_rsa(encrypted, OAEP(hash_name, mgf, label))
    assert opened == CONTENT_ENCRYPTION_KEY


FAILURES: dict[str, tuple[str, bytes, RSAPadding]] = {
    "not an RSA key": ("ec", bytes(256), PKCS1v15()),
    "above the modulus": ("rsa", b"\xff" * 256, PKCS1v15()),
    "OAEP that does not fit": ("rsa", bytes(255) + b"\2", OAEP()),
    "unknown hash": ("rsa", bytes(256), OAEP(hash_name="md4")),
    "hash too long for the key": ("small", bytes(128), OAEP("sha512", "sha512")),
}


@pytest.mark.parametrize(("name", "encrypted", "asked"), FAILURES.values(), ids=FAILURES)
def test_every_failure_is_one_error_with_one_text(
    name: str, encrypted: bytes, asked: RSAPadding, key_of: dict[str, PrivateKeyTypes]
) -> None:
    with pytest.raises(DecryptionFailed) as caught:
        SoftwareKey(key_of[name], "k").decrypt_rsa(encrypted, asked)
    assert caught.value.message == DecryptionFailed.TEXT


@pytest.mark.parametrize("size", [0, 10, 247, 257, 1000])
@pytest.mark.parametrize("asked", [PKCS1v15(), OAEP()])
def test_a_length_that_is_not_that_of_the_modulus_has_words_of_its_own(
    size: int, asked: RSAPadding, rsa_key: rsa.RSAPrivateKey
) -> None:
    with pytest.raises(MalformedMessage, match=f"encryptedKey has {size} bytes; .* takes 256"):
        SoftwareKey(rsa_key, "k").decrypt_rsa(bytes(size), asked)


@pytest.mark.parametrize("asked", [PKCS1v15(), OAEP()])
def test_a_leading_zero_that_was_dropped_is_put_back(
    asked: RSAPadding, rsa_key: rsa.RSAPrivateKey
) -> None:
    public_key = rsa_key.public_key()
    while True:
        encrypted = public_key.encrypt(CONTENT_ENCRYPTION_KEY, asymmetric_padding(asked))
        if not encrypted[0]:
            break
    opened = SoftwareKey(rsa_key, "k").decrypt_rsa(encrypted.lstrip(b"\0"), asked)
    assert opened == CONTENT_ENCRYPTION_KEY


def test_a_wrong_label_fails(rsa_key: rsa.RSAPrivateKey) -> None:
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), b"one")
    encrypted = rsa_key.public_key().encrypt(b"key", oaep)
    with pytest.raises(DecryptionFailed):
        SoftwareKey(rsa_key, "k").decrypt_rsa(encrypted, OAEP(label=b"two"))


def test_the_repr_of_a_key_is_its_label(rsa_key: rsa.RSAPrivateKey) -> None:
    assert repr(SoftwareKey(rsa_key, "a.p12: CN=Alice")) == "SoftwareKey('a.p12: CN=Alice')"


def peer_of(key: PrivateKeyTypes, *, compressed: bool = False) -> tuple[bytes, bytes]:
    """The public key of a fresh peer, and the secret it shares with a key."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        peer = ec.generate_private_key(key.curve)
        form = PublicFormat.CompressedPoint if compressed else PublicFormat.UncompressedPoint
        point = peer.public_key().public_bytes(Encoding.X962, form)
        return point, peer.exchange(ec.ECDH(), key.public_key())
    if isinstance(key, x25519.X25519PrivateKey):
        other = x25519.X25519PrivateKey.generate()
        return other.public_key().public_bytes_raw(), other.exchange(key.public_key())
    assert isinstance(key, x448.X448PrivateKey)
    last = x448.X448PrivateKey.generate()
    return last.public_key().public_bytes_raw(), last.exchange(key.public_key())


AGREEING = ["ec", "secp384r1", "secp521r1", "brainpool", "x25519", "x448"]


@pytest.mark.parametrize("compressed", [False, True], ids=["whole", "compressed"])
@pytest.mark.parametrize("name", AGREEING)
def test_both_sides_of_an_agreement_have_one_secret(
    name: str, compressed: bool, key_of: dict[str, PrivateKeyTypes]
) -> None:
    public_key, secret = peer_of(key_of[name], compressed=compressed)
    assert SoftwareKey(key_of[name], "k").agree(public_key) == secret


NO_PEERS = {
    "not an agreeing key": ("rsa", b"\4" + bytes(64)),
    "a signing key": ("ed25519", bytes(32)),
    "off the curve": ("ec", b"\4" + bytes(63) + b"\1"),
    "at infinity": ("ec", b"\0"),
    "of another curve": ("ec", b"\4" + bytes(96)),
    "empty": ("ec", b""),
    "of low order": ("x25519", bytes(32)),
    "too short": ("x25519", bytes(31)),
    "of low order, X448": ("x448", bytes(56)),
}


@pytest.mark.parametrize(("name", "public_key"), NO_PEERS.values(), ids=NO_PEERS)
def test_a_peer_that_cannot_be_agreed_with_fails(
    name: str, public_key: bytes, key_of: dict[str, PrivateKeyTypes]
) -> None:
    with pytest.raises(DecryptionFailed) as caught:
        SoftwareKey(key_of[name], "k").agree(public_key)
    assert caught.value.message == DecryptionFailed.TEXT


@pytest.mark.parametrize("name", ["ml-kem-768", "ml-kem-1024"])
def test_a_secret_is_decapsulated(name: str, key_of: dict[str, PrivateKeyTypes]) -> None:
    secret, ciphertext = key_of[name].public_key().encapsulate()  # type: ignore[union-attr]
    assert SoftwareKey(key_of[name], "k").decapsulate(ciphertext) == secret


@pytest.mark.parametrize(("name", "size"), [("ml-kem-768", 1568), ("ml-kem-1024", 0), ("ec", 1088)])
def test_a_ciphertext_for_another_kind_of_key_fails(
    name: str, size: int, key_of: dict[str, PrivateKeyTypes]
) -> None:
    with pytest.raises(DecryptionFailed) as caught:
        SoftwareKey(key_of[name], "k").decapsulate(bytes(size))
    assert caught.value.message == DecryptionFailed.TEXT
