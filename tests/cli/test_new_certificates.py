"""What a person and a program are told of the certificates that mail is encrypted to."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.forge import make_holder
from tests.support.mailboxes import make_key, openssl, write_private_key

Fixture = Any


def encrypt(run: Fixture, sample: Fixture, move: Fixture, *options: object) -> Fixture:
    to = ("--job", move.job, "--to", sample.new, "--workers=0")
    return run("encrypt", move.maildir, *to, *options)


def test_the_document_says_whether_the_owner_was_checked(
    run: Fixture, sample: Fixture, move: Fixture
) -> None:
    document = encrypt(run, sample, move, "--dry-run", "--json").document
    assert document["owner_checked"] is False
    (told,) = document["new_certificates"]
    (address,) = told["addresses"]
    assert set(told) == {
        *("file", "subject", "addresses", "fingerprint", "key", "not_before", "not_after"),
        "overridden",
        "in_transition",
        "weakens",
    }
    checked = encrypt(run, sample, move, "--dry-run", "--json", "--owner", address).document
    assert checked["owner_checked"] is True


def test_an_owner_whom_no_certificate_names_ends_with_15_and_says_how_to_go_on(
    run: Fixture, sample: Fixture, move: Fixture
) -> None:
    answer = encrypt(run, sample, move, "--owner", "mallory@example.org")
    assert answer.code == 15
    assert answer.is_one_error()
    accepting = answer.err.partition("hint: ")[2].split()[:2]
    options = ("--owner", "mallory@example.org", "--dry-run")
    accepted = encrypt(run, sample, move, *accepting, *options)
    assert accepted.code != 15
    assert "although it does not name mallory@example.org" in " ".join(accepted.out.split())


def test_a_person_sees_fingerprint_and_names_before_anything_is_done(
    run: Fixture, sample: Fixture, move: Fixture
) -> None:
    document = encrypt(run, sample, move, "--dry-run", "--json").document
    said = encrypt(run, sample, move, "--dry-run").out
    (told,) = document["new_certificates"]
    assert told["fingerprint"] in said
    assert told["addresses"][0] in said
    assert "--owner ADDRESS" in said


# --- classic keys beside post-quantum ones ------------------------------------------------


@pytest.fixture(scope="module")
def post_quantum(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("new") / "ml-kem.pem"
    path.write_bytes(make_holder("ml-kem-768").certificate.public_bytes(Encoding.PEM))
    return path


def test_a_classic_key_beside_a_post_quantum_one_is_used_only_where_that_is_asked_for(
    run: Fixture, sample: Fixture, move: Fixture, post_quantum: Path
) -> None:
    options = ("--to", post_quantum, "--profile", "post-quantum")
    refused = encrypt(run, sample, move, *options)
    assert refused.code == 15
    assert "--also-classic" in refused.err
    answer = encrypt(run, sample, move, *options, "--also-classic")
    assert answer.code == 3, answer.err
    assert answer.out.count("only as safe as this key is") == 1
    document = encrypt(run, sample, move, *options, "--also-classic", "--json").document
    assert document["counts"]["reencrypted"] == 6
    assert sorted(entry["weakens"] for entry in document["new_certificates"]) == [False, True]


def test_classic_keys_alone_are_not_called_post_quantum(
    run: Fixture, sample: Fixture, move: Fixture
) -> None:
    answer = encrypt(run, sample, move, "--profile", "post-quantum", "--also-classic")
    assert answer.code == 15
    assert "--profile modern" in answer.err


def test_also_classic_belongs_to_post_quantum(run: Fixture, sample: Fixture, move: Fixture) -> None:
    answer = encrypt(run, sample, move, "--profile", "modern", "--also-classic")
    assert (answer.code, "--profile post-quantum" in answer.err) == (2, True)


# --- whose certificate it is ---------------------------------------------------------------


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of another name."""
    return make_key(tmp_path_factory.mktemp("other"), "other", "jones@example.org").certificate


def encrypt_to(run: Fixture, move: Fixture, *options: object) -> Fixture:
    return run("encrypt", move.maildir, "--job", move.job, "--workers=0", *options)


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)], ids=["real", "dry run"])
def test_a_certificate_of_another_name_ends_with_15_and_both_names(
    run: Fixture, move: Fixture, other: Path, dry_run: tuple[str, ...]
) -> None:
    answer = encrypt_to(run, move, "--to", other, *dry_run)
    assert answer.code == 15
    assert answer.is_one_error()
    assert "Old: owner@example.org. New: jones@example.org" in answer.err
    assert "--owner jones@example.org" in answer.err
    error = encrypt_to(run, move, "--to", other, *dry_run, "--json").document["error"]
    assert (error["code"], "Old: owner@example.org" in error["message"]) == (15, True)
    owner = ("--owner", "jones@example.org")
    assert encrypt_to(run, move, "--to", other, *dry_run, *owner).code == 3


@pytest.mark.parametrize("dry_run", [(), ("--dry-run",)], ids=["real", "dry run"])
def test_a_ca_certificate_ends_with_15_until_that_check_is_named(
    run: Fixture, move: Fixture, tmp_path: Path, dry_run: tuple[str, ...]
) -> None:
    path = tmp_path / "ca.pem"
    openssl(
        *("req", "-x509", "-key", write_private_key(tmp_path / "ca.key", "authority")),
        *("-days", "3650", "-subj", "/CN=Owner"),
        *("-addext", "subjectAltName=email:owner@example.org"),
        *("-out", path),
    )
    answer = encrypt_to(run, move, "--to", path, *dry_run)
    assert answer.code == 15
    assert "marked as a CA (CA:TRUE; `openssl req -x509` sets that by default)" in answer.err
    accepting = answer.err.partition("hint: ")[2].split()[:2]
    accepted = encrypt_to(run, move, "--to", path, *dry_run, *accepting)
    assert accepted.code == 3
    assert "although it is marked as a CA" in " ".join(accepted.out.split())
    named = (accepting[0], f"{accepting[1]}:authority")
    assert encrypt_to(run, move, "--to", path, *dry_run, *named).code == 3
    another = (accepting[0], f"{accepting[1]}:validity")
    assert encrypt_to(run, move, "--to", path, *dry_run, *another).code == 15


def test_who_loses_access_is_told_after_the_run_with_words_for_sent_mail(
    run: Fixture, sample: Fixture, tmp_path: Path
) -> None:
    maildir, job = tmp_path / "Maildir", tmp_path / "job"
    shutil.copytree(sample.maildir, maildir)
    run("decrypt", maildir, *sample.history, "--job", job, "--workers=0", "-q", "--folder", "Sent*")
    command = ("encrypt", "--job", job, "--to", sample.new, "--workers=0", "--partial")
    dry = run(*command, "--dry-run", "--json").document["losing_access"]
    told = run(*command)
    document = run(*command, "--json").document
    assert document["losing_access"] == dry
    assert dry
    assert all(one["sent"] == one["messages"] for one in dry)
    assert "in sent mail only: correspondents" in told.out
    assert "co-owners" not in told.out
