"""The header beside a plaintext is the one it was first seen with, whoever sends it once more."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Unpack

import pytest

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import EncryptSummary, Summary
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.specifications import Fields, Specify

TRUE = b"From: alice@example.org\n"
FORGED = b"From: mallory@example.net\nX-Forged: 1\n"
Run = Callable[..., Summary]


@pytest.fixture(params=["plain", "sealed"])
def run(request: pytest.FixtureRequest, specify: Specify, keys: Keys) -> Run:
    """Runs an operation on a job whose checkpoints are plain, or sealed."""

    def run(operation: str, mailbox: Path | None, **options: Unpack[Fields]) -> Summary:
        if request.param == "sealed" and operation == "decrypt":
            options["seal_to"] = (keys.transport.certificate,)
        elif request.param == "sealed" and operation != "purge":
            options["seal_keys"] = KeySpecification((keys.transport.private_key,))
        return jobs.run(specify(operation, mailbox, **options))

    return run


@pytest.fixture
def real(keys: Keys) -> bytes:
    return TRUE + encrypted(1, keys.old)


def replay(raw: bytes, message_id: bytes = b"<evil@example.net>") -> bytes:
    """The same ciphertext under a header of somebody who had it."""
    return raw.replace(TRUE, FORGED).replace(b"<1@example.org>", message_id)


def put(maildir: Path, name: str, raw: bytes) -> Path:
    path = maildir / "cur" / f"{name}.host:2,"
    path.write_bytes(raw)
    return path


def empty(maildir: Path) -> None:
    for path in (maildir / "cur").iterdir():
        path.unlink()


def restored(maildir: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (maildir / ".Recovered" / "cur").glob("*"))


@pytest.mark.parametrize("message_id", [b"<evil@example.net>", b"<1@example.org>"])
@pytest.mark.parametrize("name", ["1000000000.M0P1", "1900000000.M9P1"], ids=["before", "behind"])
def test_a_later_replay_changes_no_header(
    name: str, message_id: bytes, run: Run, real: bytes, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    fill(maildir, [Mail("", "cur/1300000001.M1P1.host:2,S", real)])
    run("decrypt", maildir)
    (file,) = (path for path in (tmp_path / "job" / "checkpoints").iterdir() if path.is_file())
    before = file.read_bytes()
    put(maildir, name, replay(real, message_id))
    assert run("decrypt", maildir).counts == {State.CHECKPOINTED: 2}
    assert file.read_bytes() == before
    empty(maildir)
    summary = run("encrypt", maildir, partial=True, restore_lost=True)
    assert isinstance(summary, EncryptSummary)
    assert summary.brought_back
    for raw in restored(maildir):
        assert TRUE in raw
        assert b"mallory" not in raw


def test_two_in_one_run_keep_the_first(run: Run, real: bytes, tmp_path: Path) -> None:
    maildir = tmp_path / "Maildir"
    fill(maildir, [Mail("", "cur/1300000001.M1P1.host:2,S", real)])
    put(maildir, "1900000000.M9P1", replay(real))
    run("decrypt", maildir)
    empty(maildir)
    summary = run("encrypt", maildir, partial=True, restore_lost=True)
    assert isinstance(summary, EncryptSummary)
    # Whichever was seen first: nobody's text is shown as from somebody else.
    assert (summary.brought_back, sum(summary.not_brought_back.values())) == (1, 1)
    (reason,) = summary.not_brought_back
    assert reason == "the header that was kept with its plaintext is of another message"


def header_damaged(raw: bytes) -> bytes:
    assert raw.startswith(TRUE)
    return raw.replace(TRUE, TRUE.replace(b"alice", b"mal1c"), 1)


def test_a_header_that_is_not_the_one_of_the_log_restores_nothing(
    specify: Specify, real: bytes, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    fill(maildir, [Mail("", "cur/1300000001.M1P1.host:2,S", real)])
    jobs.run(specify("decrypt", maildir))
    (file,) = (tmp_path / "job" / "checkpoints").glob("*.eml")
    whole = file.read_bytes()
    file.write_bytes(header_damaged(whole))
    empty(maildir)
    lost = specify("encrypt", maildir, partial=True, restore_lost=True)
    summary = jobs.run(lost)
    assert (summary.brought_back, summary.exit_code) == (0, 16)
    assert not restored(maildir)
    file.write_bytes(whole)
    assert jobs.run(lost).brought_back == 1


def test_a_subject_is_obscured_by_no_other_header_than_that_of_the_log(
    specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    inner = b'Content-Type: text/plain; hp="cipher"\r\nSubject: The plans\r\n\r\nblue\r\n'
    raw = encrypted(1, keys.old, inner=inner).replace(b"message 1", b"[...]")
    maildir = tmp_path / "Maildir"
    fill(maildir, [Mail("", "cur/1300000001.M1P1.host:2,S", TRUE + raw)])
    jobs.run(specify("decrypt", maildir, in_place=True, restore_subject=True))
    (file,) = (tmp_path / "job" / "checkpoints").glob("*.eml")
    whole = file.read_bytes()
    file.write_bytes(header_damaged(whole))
    summary = jobs.run(specify("encrypt", maildir))
    assert (summary.counts, summary.exit_code) == ({State.FAILED: 1}, 16)
    file.write_bytes(whole)
    assert jobs.run(specify("encrypt", maildir)).counts == {State.REENCRYPTED: 1}


def test_a_damaged_checkpoint_is_written_anew_by_decrypting_again(
    run: Run, real: bytes, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    fill(maildir, [Mail("", "cur/1300000001.M1P1.host:2,S", real)])
    run("decrypt", maildir)
    (file,) = (path for path in (tmp_path / "job" / "checkpoints").iterdir() if path.is_file())
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert run("encrypt", maildir).counts == {State.FAILED: 1}
    run("decrypt", maildir)
    assert run("encrypt", maildir).counts == {State.REENCRYPTED: 1}


def test_so_is_one_that_was_purged_and_its_header_counts(
    run: Run, real: bytes, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    fill(maildir, [Mail("", "cur/1300000001.M1P1.host:2,S", real)])
    run("decrypt", maildir)
    run("purge", None, abandon=True)
    run("decrypt", maildir)
    assert all(header_digests(tmp_path / "job"))
    put(maildir, "1000000000.M0P1", replay(real))
    run("decrypt", maildir)
    empty(maildir)
    run("encrypt", maildir, partial=True, restore_lost=True)
    assert all(TRUE in raw for raw in restored(maildir))
    assert restored(maildir)


def header_digests(job: Path) -> list[str | None]:
    log = sqlite3.connect(job / "job.db")
    rows = log.execute("SELECT header_sha256 FROM checkpoint").fetchall()
    log.close()
    return [digest for (digest,) in rows]
