"""What a person and a program are told of the certificates that mail is encrypted to."""

from __future__ import annotations

from typing import Any

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
    assert "although it does not name mallory@example.org" in " ".join(accepted.err.split())


def test_a_person_sees_fingerprint_and_names_before_anything_is_done(
    run: Fixture, sample: Fixture, move: Fixture
) -> None:
    document = encrypt(run, sample, move, "--dry-run", "--json").document
    said = encrypt(run, sample, move, "--dry-run").err
    (told,) = document["new_certificates"]
    assert told["fingerprint"] in said
    assert told["addresses"][0] in said
    assert "--owner ADDRESS" in said
