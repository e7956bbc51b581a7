"""New certificates as an authority that runs openssl issues them: for whom, and until when."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sectool.cms import comparable_address
from sectool.errors import CertificateUnusable
from sectool.keys.recipients import NewRecipient, load_new_recipients
from tests.support.mailboxes import write_private_key

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAST = ("-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
FUTURE = ("-startdate", "20300101000000Z", "-enddate", "20310101000000Z")
VALID = ("-startdate", "20250101000000Z", "-enddate", "20990101000000Z")
AUTHORITY = """
[ca]
default_ca = own
[own]
database = {place}/index
serial = {place}/serial
new_certs_dir = {place}
default_md = sha256
policy = anything
unique_subject = no
email_in_dn = yes
[anything]
O = optional
CN = optional
emailAddress = optional
[req]
distinguished_name = names
[names]
[extensions]
{extensions}
"""
UTF8_MAILBOX = (
    "subjectAltName = @names_of_owner\n[names_of_owner]\n"
    "otherName.1 = 1.3.6.1.5.5.7.8.9;FORMAT:UTF8,UTF8:{}"
)

Issue = Callable[..., Path]


@pytest.fixture
def issue(openssl: Any, tmp_path: Path) -> Issue:
    """Issues one certificate with the extensions and dates that are asked for."""

    def issued(
        *extensions: str, subject: str = "/CN=Alice", dates: tuple[str, ...] = VALID
    ) -> Path:
        place = tmp_path / f"authority-{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        (place / "index").touch()
        (place / "serial").write_text("01\n")
        configuration = place / "configuration"
        configuration.write_text(
            AUTHORITY.format(place=place, extensions="\n".join(extensions)), encoding="utf-8"
        )
        key, request, certificate = (place / name for name in ("key", "request", "new.pem"))
        write_private_key(key, place.name)
        openssl(
            *("req", "-new", "-key", key, "-utf8", "-config", configuration),
            *("-subj", subject, "-out", request),
        )
        openssl(
            *("ca", "-batch", "-notext", "-utf8", "-selfsign", "-config", configuration, *dates),
            *(("-extensions", "extensions") if extensions else ()),
            *("-keyfile", key, "-in", request, "-out", certificate),
        )
        return certificate

    return issued


def load(*paths: Path, **options: Any) -> tuple[NewRecipient, ...]:
    return load_new_recipients(paths, NOW, **options)


FAULTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "has expired on 2021-01-01": ((), PAST),
    "is not valid before 2030-01-01": ((), FUTURE),
    "lacks keyEncipherment in its key usage": (("keyUsage = digitalSignature",), VALID),
    "lacks emailProtection in its extended key usage": (("extendedKeyUsage = serverAuth",), VALID),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_told_and_a_fingerprint_overrides_it(fault: str, issue: Issue) -> None:
    extensions, dates = FAULTS[fault]
    path = issue(*extensions, dates=dates)
    with pytest.raises(CertificateUnusable, match=fault) as caught:
        load(path)
    fingerprint = caught.value.hint.split()[1]
    (accepted,) = load(path, accept_fingerprints=frozenset({fingerprint}))
    assert accepted.overridden == (fault,)
    assert accepted.fingerprint == fingerprint


def test_a_certificate_that_passes_every_check_overrides_none(issue: Issue) -> None:
    (good,) = load(issue("keyUsage = keyEncipherment", "extendedKeyUsage = emailProtection"))
    assert good.overridden == ()
    assert good.key_kind == "RSA 2048"
    assert (good.not_before.year, good.not_after.year) == (2025, 2099)


NAMING = {
    "rfc822Name": (("subjectAltName = email:alice@example.org",), "/CN=Alice"),
    "SmtpUTF8Mailbox": ((UTF8_MAILBOX.format("alice@example.org"),), "/CN=Alice"),
    "emailAddress in the subject": ((), "/CN=Alice/emailAddress=alice@example.org"),
}


@pytest.mark.parametrize(("extensions", "subject"), NAMING.values(), ids=NAMING)
@pytest.mark.parametrize("owner", ["alice@example.org", "Alice@Example.ORG"])
def test_an_owner_is_found_in_every_place_of_a_certificate(
    extensions: tuple[str, ...], subject: str, owner: str, issue: Issue
) -> None:
    (found,) = load(issue(*extensions, subject=subject), owners=[owner])
    assert found.names(owner)


@pytest.mark.parametrize("domain", ["bücher.example", "xn--bcher-kva.example"])
def test_an_international_address_is_the_same_in_either_form_of_its_domain(
    domain: str, issue: Issue
) -> None:
    path = issue(UTF8_MAILBOX.format(f"jürgen@{domain}"))
    (found,) = load(path, owners=["jürgen@bücher.example"])
    assert found.addresses == (f"jürgen@{domain}",)


NOBODY = {
    "another": (("subjectAltName = email:bob@example.org",), "/CN=alice@example.org"),
    "no name at all": ((), "/CN=alice@example.org"),
    "a host": (("subjectAltName = DNS:example.org",), "/CN=Alice"),
    "a longer address": (("subjectAltName = email:alice@example.org.example",), "/CN=Alice"),
}


@pytest.mark.parametrize(("extensions", "subject"), NOBODY.values(), ids=NOBODY)
def test_a_certificate_that_does_not_name_the_owner_is_refused_unless_it_is_accepted(
    extensions: tuple[str, ...], subject: str, issue: Issue
) -> None:
    path = issue(*extensions, subject=subject)
    with pytest.raises(CertificateUnusable, match=r"names alice@example\.org") as caught:
        load(path, owners=["alice@example.org"])
    assert caught.value.exit_code == 15
    (plain,) = load(path)
    accepted = frozenset({plain.fingerprint})
    (overridden,) = load(path, owners=["alice@example.org"], accept_fingerprints=accepted)
    assert overridden.overridden == ("does not name alice@example.org",)


def test_one_of_several_certificates_must_name_the_owner(issue: Issue) -> None:
    alice = issue("subjectAltName = email:alice@example.org")
    archive = issue("subjectAltName = email:archive@example.org")
    assert len(load(archive, alice, owners=["alice@example.org"])) == 2


def test_any_of_the_addresses_of_an_owner_is_enough(issue: Issue) -> None:
    maiden, married = "alice.smith@example.org", "alice.jones@example.org"
    path = issue(f"subjectAltName = email:{married}")
    assert load(path, owners=[maiden, married])
    with pytest.raises(CertificateUnusable, match=f"names {maiden} or bob@example.org"):
        load(path, owners=[maiden, "bob@example.org"])


def test_accepting_one_of_several_does_not_do_without_the_owner(issue: Issue) -> None:
    archive = issue("subjectAltName = email:archive@example.org", dates=PAST)
    bob = issue("subjectAltName = email:bob@example.org")
    (archived,) = load(archive, accept_fingerprints=frozenset(_fingerprint(archive)))
    with pytest.raises(CertificateUnusable, match=r"archive@example\.org, bob@example\.org"):
        load(
            archive,
            bob,
            owners=["alice@example.org"],
            accept_fingerprints=frozenset({archived.fingerprint}),
        )


def _fingerprint(path: Path) -> set[str]:
    with pytest.raises(CertificateUnusable) as caught:
        load(path)
    return {caught.value.hint.split()[1]}


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("a@example.org", "A@EXAMPLE.ORG", True),
        ("a@example.org", "a@example.org.", True),
        ("a@example.org", "b@example.org", False),
        ("a@example.org", "a@example.com", False),
        ("ü@example.org", "u\u0308@example.org", True),
        ("a@b@example.org", "a@example.org", False),
        ("example.org", "a@example.org", False),
        ("@", "a@example.org", False),
        ("a@" + "x" * 300, "a@" + "x" * 300, True),
        ("a@..", "a@..", True),
    ],
)
def test_addresses_are_compared_as_mail_servers_do(first: str, second: str, same: bool) -> None:
    assert (comparable_address(first) == comparable_address(second)) is same
