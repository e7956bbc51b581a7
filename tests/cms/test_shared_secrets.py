"""Shared keys and passwords open what OpenSSL seals with them, and nothing else does."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from sectool import cms
from sectool.asn1 import der
from sectool.budget import MESSAGE, Budget, Work, spending
from sectool.cms import oids
from sectool.errors import (
    BudgetExceeded,
    DecryptionFailed,
    MalformedMessage,
    MessageError,
    MissingKey,
    UnsupportedMessage,
)
from sectool.message import BytesContent
from tests.support.opening import open_envelope

if TYPE_CHECKING:
    from tests.cms.conftest import Forge, KeyRing, OpenSSL, Person

Ring = Callable[..., "KeyRing"]

CONTENT = b"Content-Type: text/plain\r\n\r\nThe plans are in the blue folder.\r\n"
NAME = b"list 7"
PASSWORD = b"correct horse"


def open_with(
    raw: bytes,
    keys: KeyRing,
    secrets: cms.SharedSecrets,
    limits: cms.Limits = cms.DEFAULT_LIMITS,
) -> tuple[cms.Authenticated | cms.Unproven, bytes]:
    sink = io.BytesIO()
    result = open_envelope(BytesContent(raw), sink, keys, limits, secrets=secrets)
    return result, sink.getvalue()


def shared(key: bytes, name: bytes = NAME) -> cms.SharedSecrets:
    return cms.SharedSecrets(key_encryption_keys={name: key})


def password(*passwords: bytes) -> cms.SharedSecrets:
    return cms.SharedSecrets(passwords=passwords)


def by_shared_key(openssl: OpenSSL, key: bytes, *options: str) -> bytes:
    arguments = ["-secretkey", key.hex(), "-secretkeyid", NAME.hex(), *options]
    return openssl.seal(CONTENT, *arguments)


CIPHERS = {
    "aes-128-cbc": "-aes128",
    "aes-192-cbc": "-aes192",
    "aes-256-cbc": "-aes256",
    "des-ede3-cbc": "-des3",
    "camellia-256-cbc": "-camellia256",
    "aes-256-gcm": "-aes-256-gcm",
}


@pytest.mark.parametrize("size", [16, 24, 32], ids="aes-{}-bytes".format)
@pytest.mark.parametrize("cipher", CIPHERS.values(), ids=CIPHERS)
def test_a_shared_key_opens_authenticated(
    cipher: str, size: int, openssl: OpenSSL, ring: Ring
) -> None:
    key = bytes(range(size))
    result, content = open_with(by_shared_key(openssl, key, cipher), ring(), shared(key))
    assert (content, type(result), result.identifier) == (CONTENT, cms.Authenticated, None)
    assert result.key_label == f"shared key {NAME.hex()}"


@pytest.mark.parametrize(
    ("secrets", "error"),
    [
        pytest.param(shared(bytes(32)), DecryptionFailed, id="wrong"),
        pytest.param(shared(bytes(16)), DecryptionFailed, id="of another length"),
        pytest.param(shared(bytes(range(32)), b"list 8"), MissingKey, id="of another name"),
        pytest.param(cms.SharedSecrets(), MissingKey, id="none"),
        pytest.param(password(bytes(range(32))), MissingKey, id="a password"),
    ],
)
def test_another_shared_key_does_not_open(
    secrets: cms.SharedSecrets, error: type[MessageError], openssl: OpenSSL, ring: Ring
) -> None:
    raw = by_shared_key(openssl, bytes(range(32)), "-aes256")
    with pytest.raises(error):
        open_with(raw, ring(), secrets)


@pytest.mark.parametrize("cipher", [name for name in CIPHERS if not name.endswith("gcm")])
def test_a_password_opens(cipher: str, openssl: OpenSSL, ring: Ring) -> None:
    options = (CIPHERS[cipher], "-pwri_password", PASSWORD.decode())
    raw = openssl.seal(CONTENT, *options)
    result, content = open_with(raw, ring(), password(b"wrong", PASSWORD))
    assert (content, type(result), result.identifier) == (CONTENT, cms.Unproven, None)
    assert result.key_label == "password"


def test_wrong_passwords_do_not_open(openssl: OpenSSL, ring: Ring) -> None:
    raw = openssl.seal(CONTENT, "-aes256", "-pwri_password", PASSWORD.decode())
    with pytest.raises(MissingKey, match="none that was given fits"):
        open_with(raw, ring(), password(b"wrong", b"", PASSWORD.upper()))


def test_a_missing_secret_is_told_from_a_missing_key(openssl: OpenSSL, ring: Ring) -> None:
    by_key = by_shared_key(openssl, bytes(range(32)), "-aes256")
    by_word = openssl.seal(CONTENT, "-aes256", "-pwri_password", PASSWORD.decode())
    for raw, reason in ((by_key, f"shared key {NAME.hex()}"), (by_word, "a password")):
        with pytest.raises(MissingKey) as caught:
            open_with(raw, ring(), cms.SharedSecrets())
        assert caught.value.message == f"no shared secret for any recipient: {reason}"
        assert "--secrets" in caught.value.hint


def test_the_limits_of_passwords_are_kept(openssl: OpenSSL, ring: Ring) -> None:
    raw = openssl.seal(CONTENT, "-aes256", "-pwri_password", PASSWORD.decode())
    wrong = [b"wrong %d" % number for number in range(5)]
    with spending(Budget({**MESSAGE, Work.DERIVATION: 5 * 2_048 - 1})) as budget:
        reason = "beyond the limit of 10,239 key-derivation rounds; --limit-factor 10 tries harder"
        with pytest.raises(BudgetExceeded, match=reason):
            open_with(raw, ring(), password(*wrong))
    assert budget.reason == reason
    with spending(Budget({**MESSAGE, Work.DERIVATION: 6 * 2_048})):
        assert open_with(raw, ring(), password(*wrong, PASSWORD))[1] == CONTENT


def pbkdf2(*fields: bytes) -> bytes:
    return der.element(0xA0, der.oid("1.2.840.113549.1.5.12") + der.sequence(*fields))


def password_recipient(
    derivation: bytes | None = None,
    cipher: bytes | None = None,
    encrypted_key: bytes = bytes(48),
    wrap: str = oids.PWRI_KEK,
) -> bytes:
    if derivation is None:
        derivation = pbkdf2(der.octet_string(b"salt"), der.integer(2))
    if cipher is None:
        cipher = der.sequence(der.oid(oids.AES_256_CBC), der.octet_string(bytes(16)))
    return der.element(
        0xA3,
        der.integer(0)
        + derivation
        + der.sequence(der.oid(wrap), cipher)
        + der.octet_string(encrypted_key),
    )


def prf(oid: str) -> bytes:
    return pbkdf2(der.octet_string(b"s"), der.integer(2), der.sequence(der.oid(oid), der.NULL))


AES_GCM = der.sequence(
    der.oid(oids.AES_256_GCM), der.sequence(der.octet_string(bytes(12)), der.integer(16))
)
BAD: dict[str, tuple[bytes, type[MessageError]]] = {
    "wrong": (password_recipient(), MissingKey),
    "prf sha512": (password_recipient(prf("1.2.840.113549.2.11")), MissingKey),
    "prf md5": (password_recipient(prf("1.2.840.113549.2.6")), UnsupportedMessage),
    "no derivation": (password_recipient(b""), UnsupportedMessage),
    "scrypt": (
        password_recipient(der.element(0xA0, der.oid("1.3.6.1.4.1.11591.4.11"))),
        UnsupportedMessage,
    ),
    "no parameters": (
        password_recipient(der.element(0xA0, der.oid("1.2.840.113549.1.5.12"))),
        MalformedMessage,
    ),
    "no iterations": (password_recipient(pbkdf2(der.octet_string(b"s"))), MalformedMessage),
    "zero iterations": (
        password_recipient(pbkdf2(der.octet_string(b"s"), der.integer(0))),
        MalformedMessage,
    ),
    "a billion iterations": (
        password_recipient(pbkdf2(der.octet_string(b"s"), der.integer(10**9))),
        BudgetExceeded,
    ),
    "keyLength of another cipher": (
        password_recipient(pbkdf2(der.octet_string(b"s"), der.integer(2), der.integer(16))),
        MalformedMessage,
    ),
    "gcm": (password_recipient(cipher=AES_GCM), UnsupportedMessage),
    "unknown cipher": (
        password_recipient(cipher=der.sequence(der.oid("1.2.3.4"))),
        UnsupportedMessage,
    ),
    "cipher missing": (password_recipient(cipher=b""), MalformedMessage),
    "another wrap": (password_recipient(wrap=oids.AES_256_WRAP), UnsupportedMessage),
    "one block": (password_recipient(encrypted_key=bytes(16)), MalformedMessage),
    "no blocks": (password_recipient(encrypted_key=b""), MalformedMessage),
    "odd bytes": (password_recipient(encrypted_key=bytes(47)), MalformedMessage),
}


@pytest.mark.parametrize(("recipient", "error"), BAD.values(), ids=BAD)
def test_a_bad_password_recipient_fails_as_its_kind(
    recipient: bytes, error: type[MessageError], forge: Forge, ring: Ring
) -> None:
    with pytest.raises(MessageError) as caught:
        open_with(forge.cbc(recipients=[recipient]), ring(), password(PASSWORD))
    assert type(caught.value) is error


@pytest.mark.parametrize(
    "kekid",
    [der.sequence(), der.integer(5), der.sequence(der.octet_string(bytes(2000)))],
    ids=["empty", "an integer", "too long"],
)
def test_a_damaged_kekid_does_not_hide_the_other_recipients(
    kekid: bytes, forge: Forge, bob: Person, ring: Ring
) -> None:
    wrap = der.sequence(der.oid(oids.AES_256_WRAP))
    damaged = der.element(0xA2, der.integer(4) + kekid + wrap + der.octet_string(bytes(40)))
    raw = forge.cbc(recipients=[damaged, forge.recipient()])
    assert open_with(raw, ring(bob), shared(bytes(32)))[1] == CONTENT


def test_secrets_are_not_shown() -> None:
    secrets = cms.SharedSecrets({b"name": b"hidden key"}, (b"hidden word",))
    assert "hidden" not in repr(secrets)
