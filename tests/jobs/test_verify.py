"""verify: what is there, lost, new or changed, what a new key opens, and which old key may go."""

from __future__ import annotations

import base64
import gzip
import os
import shutil
from pathlib import Path
from typing import Unpack

import pytest

from sectool import jobs
from sectool.errors import NotThisMailbox
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.retirement import Answer
from sectool.summary import RetiredKey, Summary
from tests.support import checker
from tests.support.checker import Key
from tests.support.layers import encrypt, message as whole
from tests.support.mailboxes import CLEAR, Keys, Mail, encrypted, fill
from tests.support.specifications import Fields, Specify, fitting
from tests.support.wrappings import ATTACHMENT, ATTACHMENT_DATA, attribute, tnef

OTHERS = {State.CLEAR: 1, State.MISSING_KEY: 1, State.MALFORMED: 1}
REENCRYPTED = {**OTHERS, State.REENCRYPTED: 5}
VERIFIED = {**OTHERS, State.VERIFIED: 5}

SIGNED = (
    b"Content-Type: multipart/signed; boundary=m\r\n\r\n--m\r\n%s\r\n--m\r\n"
    b"Content-Type: application/pkcs7-signature\r\n\r\nMAA=\r\n--m--\r\n"
)
"""An encrypted part under a signature is left as it is."""


def counts(summary: Summary) -> dict[State, int]:
    assert sum(summary.counts.values()) == summary.messages
    return {state: count for state, count in summary.counts.items() if count}


def specification(*keys: Key) -> KeySpecification:
    return KeySpecification(
        tuple(path for key in keys for path in (key.certificate, key.private_key))
    )


@pytest.fixture
def encrypted_job(maildir: Path, specify: Specify, tmp_path: Path) -> Path:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    return tmp_path / "job"


def message(maildir: Path, number: int) -> Path:
    """The file of a message of the sample, by its Message-ID."""
    wanted = b"Message-ID: <%d@example.org>" % number
    return next(p for p in maildir.rglob("cur/*") if wanted in p.read_bytes())


# --- what became of each message ---------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_after_encrypting_everything_is_there(
    encrypted_job: Path, specify: Specify, workers: int
) -> None:
    assert counts(jobs.run(specify("verify", None, workers=workers))) == REENCRYPTED


@pytest.mark.parametrize("deep", [False, True])
def test_verify_never_changes_the_mailbox(
    encrypted_job: Path, maildir: Path, specify: Specify, keys: Keys, deep: bool
) -> None:
    census = checker.census(maildir)
    jobs.run(specify("verify", None, verify_keys=specification(keys.new), deep=deep))
    assert checker.census(maildir) == census


def test_a_replaced_message_that_is_gone_is_lost(
    encrypted_job: Path, maildir: Path, specify: Specify
) -> None:
    message(maildir, 1).unlink()
    summary = jobs.run(specify("verify", None))
    assert counts(summary) == {**REENCRYPTED, State.REENCRYPTED: 4, State.LOST: 1}
    assert summary.exit_code == 3


def test_a_message_that_turns_up_again_has_its_state_back(
    encrypted_job: Path, maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    path = message(maildir, 1)
    shutil.move(path, tmp_path / "aside")
    jobs.run(specify("verify", None))
    shutil.move(tmp_path / "aside", maildir / ".Sent" / "cur" / path.name)
    assert counts(jobs.run(specify("verify", None))) == REENCRYPTED


def test_a_clear_message_that_is_gone_is_lost_once_the_mailbox_has_moved(
    encrypted_job: Path, maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(maildir, moved)
    for place in (maildir, moved):
        next(p for p in place.rglob("cur/*") if p.read_bytes() == CLEAR).unlink()
    wanted = {**REENCRYPTED, State.LOST: 1}
    del wanted[State.CLEAR]
    summary = jobs.run(specify("verify", moved))
    assert (counts(summary), summary.lost_in_clear) == (wanted, 1)


def test_a_clear_message_that_is_gone_where_the_mailbox_was_walked_is_no_loss(
    encrypted_job: Path, maildir: Path, specify: Specify
) -> None:
    next(p for p in maildir.rglob("cur/*") if p.read_bytes() == CLEAR).unlink()
    wanted = dict(REENCRYPTED)
    del wanted[State.CLEAR]
    assert counts(jobs.run(specify("verify", None))) == wanted


def test_a_header_that_a_server_added_is_no_drift(
    encrypted_job: Path, maildir: Path, specify: Specify
) -> None:
    for path in maildir.rglob("cur/*"):
        path.write_bytes(b"X-Server: was here\n" + path.read_bytes())
    assert counts(jobs.run(specify("verify", None))) == REENCRYPTED


def test_a_clear_message_with_another_body_at_its_place_is_changed(
    encrypted_job: Path, maildir: Path, specify: Specify
) -> None:
    path = next(p for p in maildir.rglob("cur/*") if p.read_bytes() == CLEAR)
    path.write_bytes(CLEAR + b"and more\n")
    summary = jobs.run(specify("verify", None))
    wanted = {**REENCRYPTED, State.CHANGED: 1}
    del wanted[State.CLEAR]
    assert counts(summary) == wanted
    assert [entry.reason for entry in summary.not_done if entry.state is State.CHANGED] == [
        "its content was changed by someone else"
    ]
    path.write_bytes(CLEAR)
    assert counts(jobs.run(specify("verify", None))) == REENCRYPTED


def test_another_message_under_the_name_of_a_lost_one_does_not_hide_the_loss(
    encrypted_job: Path, maildir: Path, specify: Specify
) -> None:
    message(maildir, 1).write_bytes(b"Message-ID: <other@example.org>\n\nsomething else\n")
    wanted = {**REENCRYPTED, State.REENCRYPTED: 4, State.LOST: 1, State.NOT_IN_JOB: 1}
    assert counts(jobs.run(specify("verify", None))) == wanted


def test_mail_that_came_later_is_new_or_needs_an_old_key(
    encrypted_job: Path, maildir: Path, specify: Specify, keys: Keys
) -> None:
    (maildir / "new" / "1500000001.M1P1.host").write_bytes(encrypted(41, keys.new))
    old = maildir / "new" / "1500000002.M1P1.host"
    old.write_bytes(encrypted(42, keys.old))
    summary = jobs.run(specify("verify", None))
    assert counts(summary) == {**REENCRYPTED, State.NOT_IN_JOB: 1, State.OLD_KEY: 1}
    old.unlink()
    assert counts(jobs.run(specify("verify", None))) == {**REENCRYPTED, State.NOT_IN_JOB: 1}


def test_a_dry_run_of_verify_writes_nothing_anywhere(
    encrypted_job: Path, maildir: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    message(maildir, 1).unlink()
    census = checker.census(tmp_path)
    new = specification(keys.new)
    summary = jobs.run(specify("verify", maildir, verify_keys=new, dry_run=True))
    assert counts(summary) == {**VERIFIED, State.VERIFIED: 4, State.LOST: 1}
    assert checker.census(tmp_path) == census


def test_losses_before_the_move_are_deletions_when_decrypt_runs_again(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir))
    message(maildir, 1).unlink()
    assert jobs.run(specify("verify", None)).counts[State.LOST] == 1
    summary = jobs.run(specify("decrypt", maildir))
    assert counts(summary) == {**OTHERS, State.CHECKPOINTED: 4}


# --- another mailbox --------------------------------------------------------------------


def test_the_mailbox_where_the_job_is_found_is_remembered(
    encrypted_job: Path, maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    shutil.move(maildir, tmp_path / "moved")
    assert counts(jobs.run(specify("verify", tmp_path / "moved"))) == REENCRYPTED
    assert counts(jobs.run(specify("verify", None))) == REENCRYPTED


def test_a_wrong_mailbox_is_refused_and_leaves_no_trace(
    encrypted_job: Path, specify: Specify, tmp_path: Path
) -> None:
    fill(
        tmp_path / "other", [Mail("", f"cur/{n}.M1P1.host:2,", b"A: b\n\n%d" % n) for n in range(3)]
    )
    status = jobs.status(encrypted_job)
    with pytest.raises(NotThisMailbox):
        jobs.run(specify("verify", tmp_path / "other"))
    assert jobs.status(encrypted_job) == status
    summary = jobs.run(specify("verify", tmp_path / "other", partial=True))
    assert counts(summary) == {State.LOST: 8, State.NOT_IN_JOB: 3}


# --- proof by opening ---------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_the_new_key_raises_the_proof_to_opened(
    encrypted_job: Path, specify: Specify, keys: Keys, workers: int
) -> None:
    spec = specify("verify", None, verify_keys=specification(keys.new), workers=workers)
    assert counts(jobs.run(spec)) == VERIFIED
    assert counts(jobs.run(specify("verify", None))) == VERIFIED


def test_encrypt_opens_what_it_wrote_when_it_is_given_the_new_key(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", maildir))
    summary = jobs.run(specify("encrypt", maildir, verify_keys=specification(keys.new)))
    assert counts(summary) == VERIFIED


def test_f83_mail_that_the_new_key_does_not_open_is_failed(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir, new_certificates=(keys.stranger.certificate,)))
    summary = jobs.run(specify("verify", None, verify_keys=specification(keys.new)))
    assert counts(summary) == {**OTHERS, State.FAILED: 5}
    assert summary.exit_code == 3
    summary = jobs.run(specify("verify", None, verify_keys=specification(keys.stranger)))
    assert counts(summary) == VERIFIED


def test_a_message_that_opens_to_something_else_is_failed(
    encrypted_job: Path, specify: Specify, keys: Keys
) -> None:
    from sectool.joblog import JobLog

    with JobLog.open(encrypted_job / "job.db") as log, log.group():
        log._connection.execute("UPDATE checkpoint SET inner_sha256 = ?", ("00" * 32,))
    summary = jobs.run(specify("verify", None, verify_keys=specification(keys.new)))
    assert counts(summary) == {**OTHERS, State.FAILED: 5}
    reasons = {entry.reason for entry in summary.not_done if entry.state is State.FAILED}
    assert reasons == {"it opens to something else than was encrypted"}


def test_deep_finds_what_changed_under_the_same_name_size_and_time(
    encrypted_job: Path, maildir: Path, specify: Specify, keys: Keys
) -> None:
    new = specification(keys.new)
    jobs.run(specify("verify", None, verify_keys=new))
    path = message(maildir, 1)
    status = path.stat()
    raw = path.read_bytes()
    with path.open("r+b") as stream:  # the same inode
        stream.seek(-200, os.SEEK_END)
        stream.write(b"A" if raw[-200:-199] != b"A" else b"B")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert counts(jobs.run(specify("verify", None, verify_keys=new))) == VERIFIED
    summary = jobs.run(specify("verify", None, verify_keys=new, deep=True))
    assert counts(summary) == {**VERIFIED, State.VERIFIED: 4, State.CHANGED: 1}


def test_a_limit_opens_so_many_messages(encrypted_job: Path, specify: Specify, keys: Keys) -> None:
    spec = specify(
        "verify",
        None,
        verify_keys=specification(keys.new),
        selection=jobs.Selection(limit=2),
    )
    assert counts(jobs.run(spec)) == {**OTHERS, State.VERIFIED: 2, State.REENCRYPTED: 3}


# --- does the mail of the mailbox need an old key? ------------------------------------------


@pytest.fixture
def whole_job(maildir: Path, specify: Specify, tmp_path: Path) -> Path:
    """As ``encrypted_job``, of mail of which none is damaged."""
    message(maildir, 8).unlink()
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    return tmp_path / "job"


def retired(specify: Specify, *old: Key, **changes: Unpack[Fields]) -> list[RetiredKey]:
    asked: Fields = {"retire": specification(*old)}
    answers = jobs.run(specify("verify", None, **fitting("verify", asked, changes))).retire
    assert answers is not None
    return answers


@pytest.mark.parametrize("workers", [0, 2])
def test_an_old_key_may_go_once_every_replacement_was_opened(
    whole_job: Path, specify: Specify, keys: Keys, workers: int
) -> None:
    (before,) = retired(specify, keys.old)
    assert (before.needed, before.answer) == (0, Answer.UNCLEAR)
    new = specification(keys.new)
    (after,) = retired(specify, keys.old, verify_keys=new, workers=workers)
    assert (after.needed, after.answer, after.claims) == (0, Answer.NOT_NEEDED, ())
    assert "CN=old" in after.key.issuer


def test_an_old_key_may_go_unproven_where_that_is_accepted(
    whole_job: Path, specify: Specify, keys: Keys
) -> None:
    (answer,) = retired(specify, keys.old, accept_unproven=True)
    assert answer.answer is Answer.NOT_NEEDED


def test_an_old_key_that_a_message_needs_must_stay(
    whole_job: Path, maildir: Path, specify: Specify, keys: Keys
) -> None:
    (maildir / "new" / "1500000001.M1P1.host").write_bytes(encrypted(41, keys.old))
    answers = retired(specify, keys.old, keys.stranger, verify_keys=specification(keys.new))
    assert [(a.needed, a.answer) for a in answers] == [(1, Answer.NEEDED)] * 2


def test_before_encrypting_the_old_key_is_needed_by_all(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", maildir))
    (answer,) = retired(specify, keys.old)
    assert (answer.needed, answer.answer) == (5, Answer.NEEDED)


def test_a_message_that_cannot_be_looked_into_keeps_every_old_key(
    whole_job: Path, maildir: Path, specify: Specify, keys: Keys
) -> None:
    compressed = gzip.compress(encrypted(41, keys.old))
    (maildir / "new" / "1500000001.M1P1.host").write_bytes(compressed)
    (answer,) = retired(specify, keys.old, verify_keys=specification(keys.new))
    assert (answer.needed, answer.answer) == (0, Answer.UNCLEAR)
    (claim,) = answer.claims
    assert "compressed by the mail server (gzip)" in claim.reason


@pytest.mark.parametrize("at", ["root", "inside a new envelope"])
def test_smime_in_tnef_keeps_every_old_key(
    at: str, whole_job: Path, maildir: Path, specify: Specify, keys: Keys
) -> None:
    body = base64.b64decode(encrypted(41, keys.old).partition(b"\n\n")[2])
    winmail = (
        b"Content-Type: application/ms-tnef\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(tnef(attribute(ATTACHMENT, ATTACHMENT_DATA, body)))
    )
    raw = b"Message-ID: <tnef@example.org>\r\n" + winmail
    if at != "root":
        raw = whole(42, encrypt(winmail, keys.new))
    (maildir / "new" / "1500000001.M1P1.host").write_bytes(raw)
    (answer,) = retired(specify, keys.old, verify_keys=specification(keys.new))
    assert (answer.needed, answer.answer) == (0, Answer.UNCLEAR)
    (claim,) = answer.claims
    assert "TNEF" in claim.reason


def test_a_message_that_is_cut_off_keeps_every_old_key(
    encrypted_job: Path, specify: Specify, keys: Keys
) -> None:
    (answer,) = retired(specify, keys.old, verify_keys=specification(keys.new))
    assert (answer.answer, answer.unclear) == (Answer.UNCLEAR, 1)
    (claim,) = answer.claims
    assert (claim.folder, claim.message_id) == ("INBOX", "<8@example.org>")
    assert claim.date.startswith("2019-01-07")
    assert "backup" in claim.remedy


def test_the_new_key_itself_is_never_free_to_go(
    whole_job: Path, specify: Specify, keys: Keys
) -> None:
    (answer,) = retired(specify, keys.new, verify_keys=specification(keys.new))
    assert (answer.needed, answer.answer) == (5, Answer.NEEDED)


@pytest.mark.parametrize(
    ("around", "needed"), [(b"%s", 0), (SIGNED, 1)], ids=["replaced with it", "left as it is"]
)
def test_an_envelope_inside_the_envelope_needs_its_old_key_only_where_it_is_left(
    around: bytes, needed: int, tmp_path: Path, specify: Specify, keys: Keys
) -> None:
    inner = around % encrypted(51, keys.old).replace(b"\n", b"\r\n")
    outer = whole(1, encrypt(inner, keys.old)).replace(b"\r\n", b"\n")
    fill(tmp_path / "Maildir", [Mail("", "cur/1300000001.M1P1.host:2,", outer)])
    jobs.run(specify("decrypt", tmp_path / "Maildir"))
    jobs.run(specify("encrypt", None))
    new = specification(keys.new)
    (answer,) = retired(specify, keys.old, verify_keys=new)
    assert (answer.needed, answer.answer is Answer.NOT_NEEDED) == (needed, not needed)
    for checkpoint in (tmp_path / "job" / "checkpoints").glob("*.eml"):
        checkpoint.unlink()
    (answer,) = retired(specify, keys.old, verify_keys=new)
    assert (answer.needed, answer.answer is Answer.NOT_NEEDED) == (needed, not needed)
