"""The main job: decrypt before the move, encrypt after it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sectool import jobs
from sectool.cms import Profile
from sectool.errors import (
    CertificateUnusable,
    Locked,
    NoSuchMailbox,
    NotThisMailbox,
    UsageError,
)
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.specifications import Specify

DECRYPTED = {
    State.CHECKPOINTED: 5,
    State.CLEAR: 1,
    State.MISSING_KEY: 1,
    State.MALFORMED: 1,
}
ENCRYPTED = {
    State.REENCRYPTED: 5,
    State.CLEAR: 1,
    State.MISSING_KEY: 1,
    State.MALFORMED: 1,
}


def counts(summary: Summary) -> dict[State, int]:
    assert sum(summary.counts.values()) == summary.messages
    return {state: count for state, count in summary.counts.items() if count}


def deliver(maildir: Path, name: str, raw: bytes) -> Path:
    path = maildir / name
    path.write_bytes(raw)
    return path


# --- decrypt -------------------------------------------------------------------------


def test_decrypt_leaves_the_mailbox_as_it_is(maildir: Path, specify: Specify) -> None:
    census = checker.census(maildir)
    directory = maildir.stat().st_mtime_ns, (maildir / "cur").stat().st_mtime_ns
    summary = jobs.run(specify("decrypt", maildir))
    assert counts(summary) == DECRYPTED
    assert summary.exit_code == 3
    assert checker.census(maildir) == census
    assert (maildir.stat().st_mtime_ns, (maildir / "cur").stat().st_mtime_ns) == directory


def test_mail_to_oneself_is_two_messages_with_one_checkpoint(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    assert len(list((tmp_path / "job" / "checkpoints").glob("*.eml"))) == 4


def test_decrypting_again_takes_just_what_is_new(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", maildir))
    deliver(maildir, "new/1400000000.M1P1.host", encrypted(20, keys.old))
    summary = jobs.run(specify("decrypt", maildir))
    assert counts(summary) == {**DECRYPTED, State.CHECKPOINTED: 6}


def test_flags_that_change_between_two_runs_make_no_message_new(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir))
    for path in (maildir / "cur").glob("*:2,"):
        path.rename(f"{path}S")
    assert counts(jobs.run(specify("decrypt", maildir))) == DECRYPTED


def test_a_message_deleted_between_two_runs_leaves_the_job(maildir: Path, specify: Specify) -> None:
    jobs.run(specify("decrypt", maildir))
    next((maildir / "cur").glob("1300000001*")).unlink()
    wanted = {**DECRYPTED, State.CHECKPOINTED: 4}
    assert counts(jobs.run(specify("decrypt", maildir))) == wanted
    wanted = {**ENCRYPTED, State.REENCRYPTED: 4}
    assert counts(jobs.run(specify("encrypt", maildir))) == wanted


def test_a_key_added_later_opens_what_was_missing(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", maildir))
    stranger = KeySpecification((keys.history, keys.stranger.private_key.parent), None, None)
    summary = jobs.run(specify("decrypt", maildir, keys=stranger))
    assert counts(summary) == {State.CHECKPOINTED: 6, State.CLEAR: 1, State.MALFORMED: 1}


def test_decrypting_another_mailbox_with_this_job_is_refused(
    maildir: Path, specify: Specify, sample: list[Mail], tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    fill(tmp_path / "other", sample)
    with pytest.raises(NotThisMailbox):
        jobs.run(specify("decrypt", tmp_path / "other"))


def test_a_job_directory_inside_the_mailbox_is_refused(maildir: Path, specify: Specify) -> None:
    with pytest.raises(UsageError):
        jobs.run(specify("decrypt", maildir, job=maildir / "job"))
    assert not (maildir / "job").exists()


def test_a_directory_with_something_else_in_it_is_no_job_directory(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "thesis.txt").write_text("important")
    with pytest.raises(UsageError):
        jobs.run(specify("decrypt", maildir))


def test_a_directory_that_is_no_mailbox_is_told(specify: Specify, tmp_path: Path) -> None:
    with pytest.raises(NoSuchMailbox):
        jobs.run(specify("scan", tmp_path))


# --- encrypt --------------------------------------------------------------------------


def test_after_a_move_every_message_of_the_job_is_encrypted_to_the_new_key(
    maildir: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    before = checker.meanings(maildir, [keys.old])
    jobs.run(specify("decrypt", maildir))
    moved = tmp_path / "new" / "Maildir"
    moved.parent.mkdir()
    shutil.move(maildir, moved)
    summary = jobs.run(specify("encrypt", moved))
    assert counts(summary) == ENCRYPTED
    assert checker.meanings(moved, [keys.new]) == before


def test_what_is_not_encrypted_anew_stays_byte_for_byte(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", maildir))
    untouched = {path.name: path.read_bytes() for path in maildir.rglob("*M[678]P1*")}
    jobs.run(specify("encrypt", None))
    after = {path.name: path.read_bytes() for path in maildir.rglob("*M[678]P1*")}
    assert len(untouched) == 3
    assert after == untouched


def test_a_mailbox_copied_file_by_file_is_found_again_by_content(
    maildir: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    mail = list(checker.stored_mail(maildir))
    moved = [
        Mail(
            ".Renamed" if entry.folder else "",
            f"cur/{number}.imported.elsewhere:2,{entry.flags}",
            entry.raw.replace(b"\n", b"\r\n"),
        )
        for number, entry in enumerate(mail)
    ]
    fill(tmp_path / "moved", moved)
    summary = jobs.run(specify("encrypt", tmp_path / "moved"))
    assert counts(summary) == ENCRYPTED
    moved_mail = checker.stored_mail(tmp_path / "moved")
    opened = [checker.inner_digests(entry.raw, [keys.new]) for entry in moved_mail]
    assert sum(all(digests) and bool(digests) for digests in opened) == 5


def test_the_originals_are_kept(
    maildir: Path, specify: Specify, tmp_path: Path, sample: list[Mail]
) -> None:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    kept = {path.read_bytes() for path in (tmp_path / "job" / "originals").iterdir()}
    assert kept == {entry.raw for entry in sample[:5]}


def test_a_second_encrypt_changes_nothing(maildir: Path, specify: Specify) -> None:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    census = checker.census(maildir)
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED
    assert checker.census(maildir) == census


def test_mail_that_came_after_decrypting_is_told_apart(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", maildir))
    deliver(maildir, "new/1400000001.M1P1.host", encrypted(21, keys.old))
    deliver(maildir, "new/1400000002.M1P1.host", encrypted(22, keys.new))
    summary = jobs.run(specify("encrypt", maildir))
    assert counts(summary) == {**ENCRYPTED, State.OLD_KEY: 1, State.NOT_IN_JOB: 1}
    assert summary.exit_code == 3


def test_a_copy_the_user_made_after_decrypting_is_encrypted_too(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", maildir))
    source = next((maildir / "cur").glob("1300000001*"))
    shutil.copy2(source, maildir / ".Sent" / "cur" / "1400000003.M1P1.host:2,S")
    assert counts(jobs.run(specify("encrypt", maildir))) == {**ENCRYPTED, State.REENCRYPTED: 6}


def test_a_message_missing_after_the_move_is_lost(maildir: Path, specify: Specify) -> None:
    jobs.run(specify("decrypt", maildir))
    next((maildir / "cur").glob("1300000001*")).unlink()
    summary = jobs.run(specify("encrypt", maildir))
    assert counts(summary) == {**ENCRYPTED, State.REENCRYPTED: 4, State.LOST: 1}
    assert summary.exit_code == 3


def test_a_mailbox_with_less_than_half_of_the_job_is_refused(
    maildir: Path, specify: Specify, sample: list[Mail], tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    fill(tmp_path / "other", sample[:3])
    with pytest.raises(NotThisMailbox):
        jobs.run(specify("encrypt", tmp_path / "other"))
    summary = jobs.run(specify("encrypt", tmp_path / "other", partial=True))
    assert summary.counts[State.REENCRYPTED] == 3


def test_encrypt_without_decrypt_is_refused(maildir: Path, specify: Specify) -> None:
    with pytest.raises(UsageError):
        jobs.run(specify("encrypt", maildir))


def test_other_recipients_on_resume_are_refused(
    maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    with pytest.raises(UsageError):
        jobs.run(specify("encrypt", maildir, new_certificates=(keys.stranger.certificate,)))


def test_recipients_are_not_fixed_before_the_first_replacement(
    maildir: Path, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    checkpoints = tmp_path / "job" / "checkpoints"
    checkpoints.rename(tmp_path / "away")
    checkpoints.mkdir(mode=0o700)
    assert jobs.run(specify("encrypt", maildir)).counts[State.FAILED] == 5
    shutil.rmtree(checkpoints)
    (tmp_path / "away").rename(checkpoints)
    spec = specify("encrypt", maildir, new_certificates=(keys.stranger.certificate,))
    assert jobs.run(spec).counts[State.REENCRYPTED] == 5


def test_a_key_file_is_no_certificate(maildir: Path, specify: Specify, tmp_path: Path) -> None:
    jobs.run(specify("decrypt", maildir))
    (tmp_path / "text").write_text("not a certificate")
    with pytest.raises(CertificateUnusable):
        jobs.run(specify("encrypt", maildir, new_certificates=(tmp_path / "text",)))


def test_a_key_that_the_profile_does_not_take_leaves_the_job_as_it_was(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir))
    with pytest.raises(CertificateUnusable, match="post-quantum"):
        jobs.run(specify("encrypt", maildir, profile=Profile.POST_QUANTUM))
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED


def test_a_pilot_of_two_messages_encrypts_two(maildir: Path, specify: Specify) -> None:
    jobs.run(specify("decrypt", maildir))
    spec = specify("encrypt", maildir, selection=jobs.Selection(limit=2))
    assert jobs.run(spec).counts[State.REENCRYPTED] == 2
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED


def test_a_selection_of_one_folder_leaves_the_others_for_later(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir))
    spec = specify("encrypt", maildir, selection=jobs.Selection(folder="Sent"))
    assert jobs.run(spec).counts[State.REENCRYPTED] == 1
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED


def test_a_damaged_checkpoint_costs_its_messages_and_ends_with_16(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    victim = min((tmp_path / "job" / "checkpoints").glob("*.eml"))
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + b"?")
    census = checker.census(maildir)
    summary = jobs.run(specify("encrypt", maildir))
    assert summary.exit_code == 16
    assert summary.counts[State.FAILED] in {1, 2}
    unchanged = [name for name in census if checker.census(maildir).get(name) == census[name]]
    assert len(unchanged) == 3 + summary.counts[State.FAILED]
    victim.write_bytes(whole)
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED


def test_a_restored_backup_is_encrypted_again(
    maildir: Path, specify: Specify, sample: list[Mail], keys: Keys
) -> None:
    before = checker.meanings(maildir, [keys.old])
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    shutil.rmtree(maildir)
    fill(maildir, sample)
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED
    assert checker.meanings(maildir, [keys.new]) == before


# --- dry runs, locks, workers ------------------------------------------------------------


@pytest.mark.parametrize("operation", ["decrypt", "encrypt"])
def test_a_dry_run_changes_nothing_anywhere(
    maildir: Path, specify: Specify, tmp_path: Path, operation: str
) -> None:
    if operation == "encrypt":
        jobs.run(specify("decrypt", maildir))
    census = checker.census(tmp_path)
    summary = jobs.run(specify(operation, maildir, dry_run=True))
    assert counts(summary) == DECRYPTED
    assert summary.space
    assert checker.census(tmp_path) == census


def test_a_second_run_on_the_same_job_is_told_who_holds_it(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    from sectool.jobs.session.job import open_job

    jobs.run(specify("decrypt", maildir))
    with open_job(tmp_path / "job", create=False), pytest.raises(Locked, match=str(os.getpid())):
        jobs.run(specify("decrypt", maildir))


def test_two_jobs_cannot_work_on_one_mailbox_at_once(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    from sectool.mailbox import open_mailbox, recognise

    with open_mailbox(recognise(str(maildir))).lock(), pytest.raises(Locked):
        jobs.run(specify("decrypt", maildir))


def test_worker_processes_do_the_same_as_none(maildir: Path, specify: Specify, keys: Keys) -> None:
    before = checker.meanings(maildir, [keys.old])
    assert counts(jobs.run(specify("decrypt", maildir, workers=2))) == DECRYPTED
    assert counts(jobs.run(specify("encrypt", maildir, workers=2))) == ENCRYPTED
    assert checker.meanings(maildir, [keys.new]) == before


def test_status_tells_the_counts_of_the_last_run(
    maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    summary = jobs.status(tmp_path / "job")
    assert counts(summary) == DECRYPTED
    assert (summary.phase, summary.is_finished) == ("decrypt", True)


def test_a_specification_pickles(maildir: Path, specify: Specify) -> None:
    import pickle

    spec = specify("decrypt", maildir, shared=True)
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_what_the_user_deleted_leaves_the_job_when_a_person_says_so(
    maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("decrypt", maildir))
    next((maildir / "cur").glob("1300000001*")).unlink()
    assert jobs.run(specify("encrypt", maildir)).counts[State.LOST] == 1
    wanted = {**ENCRYPTED, State.REENCRYPTED: 4}
    assert counts(jobs.run(specify("encrypt", maildir, accept_lost=True))) == wanted
    assert counts(jobs.run(specify("encrypt", maildir))) == wanted
    assert counts(jobs.run(specify("verify", None))) == wanted
