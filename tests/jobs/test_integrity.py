"""The mark of each original is taken once, before the move, and never rises (G8)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from sectool import jobs
from sectool.cli.words.render import as_json, as_table
from sectool.cms import Profile
from sectool.keys import KeySpecification
from tests.support.mailboxes import INNER, Keys, Mail, encrypted, fill, openssl
from tests.support.signing import Signatory, make_signatory, sign
from tests.support.specifications import Fields, Specify

MARKS = {"none": 2, "aead": 1, "signed": 1, "signed-unmatched": 1}


@pytest.fixture(scope="module")
def signatory(tmp_path_factory: pytest.TempPathFactory) -> Signatory:
    return make_signatory(tmp_path_factory.mktemp("signatory"), "alice")


def sealed(inner: bytes, keys: Keys, sender: bytes, work: Path) -> bytes:
    (work / "inner").write_bytes(inner)
    options = ("-encrypt", "-binary", "-aes256", "-in", work / "inner")
    body = openssl("cms", *options, keys.old.certificate).replace(b"\r\n", b"\n")
    return b"From: %s\nMessage-ID: <from-%s>\n" % (sender, sender) + body


@pytest.fixture
def maildir(keys: Keys, signatory: Signatory, tmp_path: Path) -> Path:
    """Mail of each mark, and one whose signature was broken before it was encrypted."""
    signed = sign(signatory, INNER % 1)
    raw = [
        encrypted(1, keys.old),
        encrypted(2, keys.old, options=("-aes-256-gcm",)),
        sealed(signed, keys, b"alice@example.org", tmp_path),
        sealed(signed, keys, b"mallory@example.org", tmp_path),
        sealed(signed.replace(b"message 1", b"massage 1"), keys, b"eve@example.org", tmp_path),
    ]
    directory = tmp_path / "Maildir"
    fill(directory, [Mail("", f"cur/130000000{n}.M{n}P1.h:2,", one) for n, one in enumerate(raw)])
    return directory


def marks(document: dict[str, Any]) -> dict[str, int]:
    return dict(document["integrity"])


def test_every_command_of_a_move_tells_the_marks_of_the_originals(
    maildir: Path, specify: Specify, keys: Keys, signatory: Signatory, tmp_path: Path
) -> None:
    signers = [
        {"fingerprint": signatory.fingerprint, "integrity": mark, "parts": 1}
        for mark in ("signed", "signed-unmatched")
    ]
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    runs: list[tuple[str, Fields]] = [
        ("scan", {}),
        ("decrypt", {"dry_run": True}),
        ("decrypt", {}),
        # An AEAD around a plaintext that nothing protected must not launder it.
        ("encrypt", {"profile": Profile.MODERN}),
        ("verify", {"verify_keys": new, "deep": True}),
        ("decrypt", {}),
    ]
    for operation, changes in runs:
        document = as_json(jobs.run(specify(operation, maildir, **changes)))
        assert marks(document) == MARKS, operation
        assert document["signers"] == signers, operation
    assert marks(as_json(jobs.status(tmp_path / "job"))) == MARKS


def test_a_scan_without_keys_marks_nothing(maildir: Path, specify: Specify) -> None:
    assert marks(as_json(jobs.run(specify("scan", maildir, keys=None)))) == {}


def test_a_copy_that_joins_the_job_has_no_more_than_its_decryption_proved(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir))
    for number in (1, 2):
        path = maildir / f"cur/130000000{number}.M{number}P1.h:2,"
        shutil.copy(path, path.with_name(f"140000000{number}.M{number}P1.h:2,"))
    summary = jobs.run(specify("encrypt", maildir))
    assert marks(as_json(summary)) == {**MARKS, "none": 3, "aead": 2}


def test_a_person_sees_how_many_of_each_there_are(maildir: Path, specify: Specify) -> None:
    lines = list(as_table(jobs.run(specify("decrypt", maildir))))
    assert "integrity of what opens  parts" in lines
    assert "signed-unmatched             1" in lines
