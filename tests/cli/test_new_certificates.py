"""What a person and a program are told of the certificates that mail is encrypted to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.forge import make_holder

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
    assert answer.err.count("only as safe as this key is") == 1
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
