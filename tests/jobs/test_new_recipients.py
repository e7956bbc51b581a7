"""Whom a move encrypts to: told, recorded without names, and who is left out counted."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from sectool import jobs
from sectool.errors import CertificateUnusable
from sectool.keys import KeySpecification
from sectool.outcome import State
from tests.support import checker
from tests.support.mailboxes import (
    INNER,
    NO_AUTHORITY,
    Keys,
    Mail,
    fill,
    openssl,
    write_private_key,
)
from tests.support.specifications import Specify


def shared(number: int, *certificates: Path, directory: Path) -> bytes:
    """A stored message that several people can read."""
    source = directory / "inner"
    source.write_bytes(INNER % number)
    mail = openssl("cms", "-encrypt", "-binary", "-aes256", "-in", source, *certificates)
    return b"Subject: shared\r\n" + mail


@pytest.fixture
def team(keys: Keys, tmp_path: Path) -> Path:
    """A mailbox with one message of the owner's alone, and two that a colleague reads as well."""
    mail = [
        Mail("", f"cur/130000000{number}.M1P1.host:2,", shared(number, *to, directory=tmp_path))
        for number, to in enumerate(
            [
                (keys.old.certificate,),
                (keys.old.certificate, keys.stranger.certificate),
                (keys.stranger.certificate, keys.old.certificate),
            ]
        )
    ]
    fill(tmp_path / "Maildir", mail)
    return tmp_path / "Maildir"


def test_a_dry_run_counts_who_would_lose_access_and_to_how_many_messages(
    team: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", team))
    losing = jobs.run(specify("encrypt", team, dry_run=True)).losing_access
    assert losing is not None
    serial = x509.load_pem_x509_certificate(keys.stranger.certificate.read_bytes()).serial_number
    assert [(int(key.serial_number, 16), n) for key, n in losing.items()] == [(serial, 2)]


def test_who_is_among_the_new_recipients_loses_nothing_and_reads_all(
    team: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", team))
    both = (keys.new.certificate, keys.stranger.certificate)
    dry = jobs.run(specify("encrypt", team, dry_run=True, new_certificates=both))
    assert dry.losing_access == {}
    assert jobs.run(specify("encrypt", team, new_certificates=both)).exit_code == 0
    for mail in checker.stored_mail(team):
        for key in (keys.new, keys.stranger):
            assert all(checker.inner_digests(mail.raw, [key])), mail.base_name


def test_a_real_run_counts_the_same_as_a_dry_one_and_so_does_the_next(
    team: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", team))
    dry = jobs.run(specify("encrypt", team, dry_run=True)).losing_access
    assert list(dry.values() if dry else ()) == [2]
    assert jobs.run(specify("encrypt", team)).losing_access == dry
    assert jobs.run(specify("encrypt", team)).losing_access == dry


def test_what_is_encrypted_to_is_told_with_fingerprint_key_and_validity(
    team: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", team))
    summary = jobs.run(specify("encrypt", team))
    (told,) = summary.new_certificates
    certificate = x509.load_pem_x509_certificate(keys.new.certificate.read_bytes())
    assert told.fingerprint == certificate.fingerprint(SHA256()).hex()
    assert told.key_kind == "RSA 2048"
    assert told.not_after == certificate.not_valid_after_utc
    assert summary.owner_checked is False


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A certificate with a mail address, which has its key beside it."""
    path = tmp_path / "named.crt"
    openssl(
        *("req", "-x509", "-key", write_private_key(tmp_path / "named.key", "named")),
        *("-days", "3650", "-subj", "/CN=Alice"),
        *(*NO_AUTHORITY, "-addext", "subjectAltName=email:alice@example.org"),
        *("-out", path),
    )
    return path


def test_the_job_log_records_fingerprints_and_no_address(
    team: Path, specify: Specify, named: Path, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", team))
    spec = specify("encrypt", team, new_certificates=(named,), owners=("alice@example.org",))
    assert jobs.run(spec).owner_checked is True
    fingerprint = x509.load_pem_x509_certificate(named.read_bytes()).fingerprint(SHA256()).hex()
    with sqlite3.connect(tmp_path / "job" / "job.db") as log:
        (record,) = log.execute("SELECT value FROM job WHERE name = 'certificates'").fetchone()
    log.close()
    assert fingerprint in record
    assert b"alice@example.org" not in (tmp_path / "job" / "job.db").read_bytes()


def test_a_certificate_of_somebody_else_stops_the_run_before_the_mailbox_is_touched(
    team: Path, specify: Specify, named: Path
) -> None:
    jobs.run(specify("decrypt", team))
    census = checker.census(team)
    spec = specify("encrypt", team, new_certificates=(named,), owners=("bob@example.org",))
    with pytest.raises(CertificateUnusable):
        jobs.run(spec)
    assert checker.census(team) == census


def test_the_counts_stay_when_the_new_key_opens_what_was_encrypted(
    team: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", team))
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    summary = jobs.run(specify("encrypt", team, verify_keys=new))
    assert summary.counts[State.VERIFIED] == 3
    assert summary.new_certificates
