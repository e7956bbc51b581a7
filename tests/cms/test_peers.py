"""Held against OpenSSL and gpgsm: they open what we seal, and we open what OpenSSL seals."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from sectool import cms
from sectool.errors import UnsupportedMessage
from sectool.message import BytesContent

if TYPE_CHECKING:
    from tests.cms.conftest import GPGSM, Holder, KeyRing, OpenSSL, Person

Ring = Callable[..., "KeyRing"]
OpenBytes = Callable[..., tuple[cms.Authenticated | cms.Unproven, bytes]]
Seal = Callable[..., tuple[bytes, cms.Sealed]]

CONTENT = b"Content-Type: text/plain\r\n\r\n" + random.Random(1).randbytes(20_000)


FORMS = {"der": (), "B05-ber": ("-stream", "-indef")}
PLAIN = {
    "aes-128-cbc": ("-aes128",),
    "aes-192-cbc": ("-aes192",),
    "aes-256-cbc": ("-aes256",),
    "des-ede3-cbc": ("-des3",),
    "camellia-128-cbc": ("-camellia128",),
    "camellia-192-cbc": ("-camellia192",),
    "camellia-256-cbc": ("-camellia256",),
    "sm4-cbc": ("-sm4-cbc",),
    "aes-128-gcm": ("-aes-128-gcm",),
    "aes-192-gcm": ("-aes-192-gcm",),
    "aes-256-gcm": ("-aes-256-gcm",),
}
LEGACY = {
    "rc2-cbc 40": ("-rc2-40-cbc",),
    "rc2-cbc 64": ("-rc2-64-cbc",),
    "rc2-cbc 128": ("-rc2-cbc",),
    "des-cbc": ("-des",),
    "cast5-cbc": ("-cast5-cbc",),
    "blowfish-cbc": ("-bf-cbc",),
    "seed-cbc": ("-seed",),
}
"""What OpenSSL writes with its legacy provider."""
OAEP = {
    "defaults": (),
    "sha256": ("-keyopt", "rsa_oaep_md:sha256"),
    "sha512-mgf1-sha1": ("-keyopt", "rsa_oaep_md:sha512", "-keyopt", "rsa_mgf1_md:sha1"),
    "sha384-label": ("-keyopt", "rsa_oaep_md:sha384", "-keyopt", "rsa_oaep_label:0102ff"),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("algorithm", "options"), PLAIN.items(), ids=PLAIN)
def test_what_openssl_seals_opens(
    algorithm: str,
    options: tuple[str, ...],
    form: tuple[str, ...],
    openssl: OpenSSL,
    open_as_bob: OpenBytes,
) -> None:
    result, content = open_as_bob(openssl.encrypt(CONTENT, *form, *options))
    assert content == CONTENT
    assert result.content_encryption_algorithm == algorithm
    assert type(result) is (cms.Authenticated if "gcm" in algorithm else cms.Unproven)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(("name", "options"), LEGACY.items(), ids=LEGACY)
def test_what_openssl_seals_with_its_legacy_provider_opens(
    name: str,
    options: tuple[str, ...],
    form: tuple[str, ...],
    openssl: OpenSSL,
    open_as_bob: OpenBytes,
) -> None:
    providers = ("-provider", "legacy", "-provider", "default")
    result, content = open_as_bob(openssl.encrypt(CONTENT, *form, *providers, *options))
    assert content == CONTENT
    assert result.content_encryption_algorithm == name.split(maxsplit=1)[0]
    assert type(result) is cms.Unproven


@pytest.mark.parametrize(
    "algorithm",
    [
        "rc4",
        "aria-128-cbc",
        "aria-256-cbc",
        "aria-192-gcm",
        "aria-128-ctr",
        "sm4-ctr",
        "aes-128-ofb",
    ],
)
def test_what_openssl_seals_and_nobody_here_opens_is_unsupported_by_its_name(
    algorithm: str, openssl: OpenSSL, open_as_bob: OpenBytes
) -> None:
    providers = ("-provider", "legacy", "-provider", "default")
    with pytest.raises(UnsupportedMessage, match=f"{algorithm} is not supported"):
        open_as_bob(openssl.encrypt(CONTENT, *providers, f"-{algorithm}"))


@pytest.mark.parametrize("options", OAEP.values(), ids=OAEP)
def test_what_openssl_seals_with_oaep_opens_authenticated(
    options: tuple[str, ...], openssl: OpenSSL, open_as_bob: OpenBytes
) -> None:
    raw = openssl.encrypt(CONTENT, "-aes128", "-keyopt", "rsa_padding_mode:oaep", *options)
    result, content = open_as_bob(raw)
    assert content == CONTENT
    assert type(result) is cms.Authenticated


def test_what_openssl_seals_by_subject_key_identifier_opens(
    openssl: OpenSSL, open_as_bob: OpenBytes
) -> None:
    result, content = open_as_bob(openssl.encrypt(CONTENT, "-aes256", "-keyid"))
    assert content == CONTENT
    assert isinstance(result.identifier, cms.SubjectKeyIdentifier)


def test_openssl_sealing_to_several_opens_for_each(
    openssl: OpenSSL, bob: Person, alice: Person, ring: Ring, open_bytes: OpenBytes
) -> None:
    raw = openssl.encrypt(CONTENT, "-aes256", people=[alice, bob])
    assert [open_bytes(raw, ring(person))[1] for person in (bob, alice)] == [CONTENT] * 2


@pytest.mark.parametrize("profile", [cms.Profile.COMPATIBLE, cms.Profile.MODERN])
@pytest.mark.parametrize("size", [0, 1, 16, 20_000, 1_000_003])
def test_openssl_opens_what_is_sealed(
    size: int,
    profile: cms.Profile,
    openssl: OpenSSL,
    bob: Person,
    seal_bytes: Seal,
) -> None:
    content = random.Random(size).randbytes(size)
    raw, _ = seal_bytes(content, profile=profile)
    assert openssl.decrypt(raw, bob) == content


AGREEMENT = {
    f"{kind} {name}": (kind, options, expected)
    for kind in ("p-256", "p-384", "p-521", "brainpool-256", "brainpool-384", "brainpool-512")
    for name, options, expected in [
        ("defaults", ["-aes128"], "ecdh-sha1kdf"),
        ("sha224", ["-aes128", "-keyopt", "ecdh_kdf_md:sha224"], "ecdh-sha224kdf"),
        ("sha256 aes-192-wrap", ["-aes192", "-keyopt", "ecdh_kdf_md:sha256"], "ecdh-sha256kdf"),
        ("sha384 aes-256-wrap", ["-aes256", "-keyopt", "ecdh_kdf_md:sha384"], "ecdh-sha384kdf"),
        ("sha512 aes-256-gcm", ["-aes-256-gcm", "-keyopt", "ecdh_kdf_md:sha512"], "ecdh-sha512kdf"),
        ("3des-wrap", ["-des3", "-keyopt", "ecdh_kdf_md:sha256"], "ecdh-sha256kdf"),
        ("rKeyId", ["-aes256", "-keyid"], "ecdh-sha1kdf"),
        (
            "cofactor",
            ["-aes256", "-keyopt", "ecdh_kdf_md:sha256", "-keyopt", "ecdh_cofactor_mode:1"],
            "ecdh-cofactor-sha256kdf",
        ),
    ]
}


@pytest.mark.parametrize(("kind", "options", "expected"), AGREEMENT.values(), ids=AGREEMENT)
def test_what_openssl_seals_to_elliptic_curves_opens_authenticated(
    kind: str,
    options: list[str],
    expected: str,
    openssl: OpenSSL,
    holder: Callable[..., Holder],
    ring: Ring,
    open_bytes: OpenBytes,
) -> None:
    someone = holder(kind)
    raw = openssl.encrypt(CONTENT, *options, people=[someone])
    result, content = open_bytes(raw, ring(someone))
    assert content == CONTENT
    assert type(result) is cms.Authenticated
    (recipient,) = cms.describe_envelope(BytesContent(raw)).recipients
    assert recipient.key_encryption_algorithm == expected


@pytest.mark.parametrize(
    ("profile", "kind"),
    [
        (cms.Profile.COMPATIBLE, "p-256"),
        (cms.Profile.COMPATIBLE, "p-384"),
        (cms.Profile.MODERN, "p-256"),
        (cms.Profile.MODERN, "p-384"),
        (cms.Profile.MODERN, "p-521"),
    ],
)
def test_openssl_opens_what_is_sealed_to_elliptic_curves(
    profile: cms.Profile,
    kind: str,
    openssl: OpenSSL,
    bob: Person,
    holder: Callable[..., Holder],
    seal_bytes: Seal,
) -> None:
    someone = holder(kind)
    raw, _ = seal_bytes(CONTENT, bob, someone, profile=profile)
    assert openssl.decrypt(raw, someone) == CONTENT
    assert openssl.decrypt(raw, bob) == CONTENT


def test_gpgsm_opens_what_is_sealed_compatible(
    gpgsm: GPGSM, both: tuple[Person, Person], seal_bytes: Seal
) -> None:
    raw, _ = seal_bytes(CONTENT, *both)
    assert gpgsm.decrypt(raw) == CONTENT


def test_openssl_password_recipients_are_described(openssl: OpenSSL) -> None:
    raw = openssl.encrypt(CONTENT, "-aes256", "-pwri_password", "secret", people=[])
    (recipient,) = cms.describe_envelope(BytesContent(raw)).recipients
    assert (recipient.kind, recipient.key_encryption_algorithm) == ("password", "pwri-kek")
