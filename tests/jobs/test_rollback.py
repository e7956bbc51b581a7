"""rollback: what was before the first replacement is there again, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import NotThisMailbox, UsageError
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker
from tests.support.crash import killed_at
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.specifications import Specify

OTHERS = {State.CLEAR: 1, State.MISSING_KEY: 1, State.MALFORMED: 1}
ROLLED_BACK = {**OTHERS, State.ROLLED_BACK: 5}
REENCRYPTED = {**OTHERS, State.REENCRYPTED: 5}


def counts(summary: Summary) -> dict[State, int]:
    assert sum(summary.counts.values()) == summary.messages
    return {state: count for state, count in summary.counts.items() if count}


@pytest.fixture
def encrypted_job(maildir: Path, specify: Specify, tmp_path: Path) -> Path:
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    return tmp_path / "job"


def message(maildir: Path, number: int) -> Path:
    wanted = b"Message-ID: <%d@example.org>" % number
    return next(p for p in maildir.rglob("cur/*") if wanted in p.read_bytes())


@pytest.mark.parametrize("workers", [0, 2])
def test_every_message_is_what_it_was(
    maildir: Path, specify: Specify, keys: Keys, workers: int
) -> None:
    before = checker.meanings(maildir, [])
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir))
    assert checker.meanings(maildir, []) != before
    summary = jobs.run(specify("rollback", None, workers=workers))
    assert counts(summary) == ROLLED_BACK
    assert checker.meanings(maildir, []) == before


@pytest.mark.parametrize("point", ["maildir.place.after", "maildir.retire.before"])
def test_an_original_that_was_damaged_after_a_kill_is_kept_anew_before_the_old_copy_goes(
    maildir: Path, specify: Specify, tmp_path: Path, point: str
) -> None:
    before = checker.meanings(maildir, [])
    jobs.run(specify("decrypt", maildir))
    killed_at(specify("encrypt", maildir), point)
    kept = list((tmp_path / "job" / "originals").glob("*.eml"))
    assert len(kept) == 5
    for number, path in enumerate(kept):
        path.unlink()
        if number % 2:
            path.write_bytes(b"damaged")
    assert counts(jobs.run(specify("encrypt", maildir))) == REENCRYPTED
    assert counts(jobs.run(specify("rollback", None))) == ROLLED_BACK
    assert checker.meanings(maildir, []) == before


def test_a_second_rollback_changes_nothing(
    encrypted_job: Path, maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("rollback", None))
    census = checker.census(maildir)
    assert counts(jobs.run(specify("rollback", None))) == ROLLED_BACK
    assert checker.census(maildir) == census


def test_verified_messages_are_put_back_too(
    encrypted_job: Path, specify: Specify, keys: Keys
) -> None:
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    jobs.run(specify("verify", None, verify_keys=new))
    assert counts(jobs.run(specify("rollback", None))) == ROLLED_BACK


def test_flags_and_folders_are_those_of_now(
    encrypted_job: Path, maildir: Path, specify: Specify
) -> None:
    path = message(maildir, 1)
    base = path.name.partition(":2,")[0]
    (maildir / ".Later" / "new").mkdir(parents=True)
    (maildir / ".Later" / "cur").mkdir()
    path.rename(maildir / ".Later" / "cur" / f"{base}:2,FRS")
    jobs.run(specify("rollback", None))
    (back,) = (mail for mail in checker.stored_mail(maildir) if mail.folder == ".Later")
    assert back.flags == "FRS"
    assert b"Message-ID: <1@example.org>" in back.raw


def test_mail_that_the_user_deleted_stays_deleted(
    encrypted_job: Path, maildir: Path, specify: Specify
) -> None:
    message(maildir, 1).unlink()
    summary = jobs.run(specify("rollback", None))
    assert counts(summary) == {**ROLLED_BACK, State.ROLLED_BACK: 4, State.LOST: 1}
    assert not [m for m in checker.stored_mail(maildir) if b"<1@example.org>" in m.raw]


def test_what_somebody_changed_is_left_to_them(
    encrypted_job: Path, maildir: Path, specify: Specify
) -> None:
    path = message(maildir, 1)
    raw = path.read_bytes()
    changed = raw[:-200] + (b"A" if raw[-200:-199] != b"A" else b"B") + raw[-199:]
    path.write_bytes(changed)
    summary = jobs.run(specify("rollback", None))
    assert counts(summary) == {**ROLLED_BACK, State.ROLLED_BACK: 4, State.CHANGED: 1}
    assert path.read_bytes() == changed


def test_a_pilot_is_undone_and_the_rest_left_alone(maildir: Path, specify: Specify) -> None:
    before = checker.meanings(maildir, [])
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir, selection=jobs.Selection(limit=2)))
    summary = jobs.run(specify("rollback", None))
    assert counts(summary) == {**OTHERS, State.CHECKPOINTED: 3, State.ROLLED_BACK: 2}
    assert checker.meanings(maildir, []) == before


def test_a_selection_puts_back_one_folder(encrypted_job: Path, specify: Specify) -> None:
    spec = specify("rollback", None, selection=jobs.Selection(folder="Sent"))
    assert counts(jobs.run(spec)) == {**OTHERS, State.REENCRYPTED: 4, State.ROLLED_BACK: 1}
    assert counts(jobs.run(specify("rollback", None))) == ROLLED_BACK


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("damage", ["missing", "changed", "a link"])
def test_a_damaged_original_costs_its_message_and_ends_with_16(
    encrypted_job: Path, maildir: Path, specify: Specify, damage: str, workers: int
) -> None:
    victim = min((encrypted_job / "originals").iterdir())
    whole = victim.read_bytes()
    victim.unlink()
    if damage == "changed":
        victim.write_bytes(whole + b"!")
    elif damage == "a link":
        victim.symlink_to("/etc/hostname")
    summary = jobs.run(specify("rollback", None, workers=workers))
    assert summary.exit_code == 16
    assert counts(summary) == {**ROLLED_BACK, State.ROLLED_BACK: 4, State.FAILED: 1}
    victim.unlink(missing_ok=True)
    victim.write_bytes(whole)
    assert counts(jobs.run(specify("rollback", None))) == ROLLED_BACK


def test_nothing_is_put_back_where_nothing_was_replaced(maildir: Path, specify: Specify) -> None:
    jobs.run(specify("decrypt", maildir))
    with pytest.raises(UsageError):
        jobs.run(specify("rollback", None))


def test_a_wrong_mailbox_is_refused(
    encrypted_job: Path, specify: Specify, tmp_path: Path, sample: list[Mail]
) -> None:
    fill(tmp_path / "other", sample[5:6])
    with pytest.raises(NotThisMailbox):
        jobs.run(specify("rollback", tmp_path / "other"))


def test_rollback_acts_where_the_mailbox_is_now(
    encrypted_job: Path, maildir: Path, specify: Specify, tmp_path: Path
) -> None:
    shutil.move(maildir, tmp_path / "moved")
    assert counts(jobs.run(specify("rollback", tmp_path / "moved"))) == ROLLED_BACK


def test_a_dry_run_of_rollback_writes_nothing_and_tells_the_space(
    encrypted_job: Path, specify: Specify, tmp_path: Path
) -> None:
    census = checker.census(tmp_path)
    summary = jobs.run(specify("rollback", None, dry_run=True))
    assert counts(summary) == REENCRYPTED
    originals = [path.stat().st_size for path in (encrypted_job / "originals").iterdir()]
    assert summary.space == sum(originals)
    assert checker.census(tmp_path) == census


# --- and again ---------------------------------------------------------------------------


def test_a_job_that_was_rolled_back_is_closed_to_encrypt_until_it_is_decrypted(
    encrypted_job: Path, maildir: Path, specify: Specify, keys: Keys
) -> None:
    before = checker.meanings(maildir, [keys.new])
    jobs.run(specify("rollback", None))
    census = checker.census(maildir)
    with pytest.raises(UsageError, match="rolled back"):
        jobs.run(specify("encrypt", None))
    assert checker.census(maildir) == census
    jobs.run(specify("decrypt", maildir))
    assert counts(jobs.run(specify("encrypt", None))) == REENCRYPTED
    assert checker.meanings(maildir, [keys.new]) == before


def test_decrypting_after_a_rollback_needs_no_key_where_the_checkpoint_is_there(
    encrypted_job: Path, maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("rollback", None))
    nothing = KeySpecification((keys.stranger.private_key, keys.stranger.certificate))
    summary = jobs.run(specify("decrypt", maildir, keys=nothing))
    assert summary.counts[State.CHECKPOINTED] >= 5


def test_decrypting_after_a_rollback_makes_a_checkpoint_that_is_gone_anew(
    encrypted_job: Path, maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("rollback", None))
    checkpoints = {
        path: path.read_bytes() for path in (encrypted_job / "checkpoints").glob("*.eml")
    }
    victim = min(checkpoints)
    victim.unlink()
    summary = jobs.run(specify("decrypt", maildir))
    assert counts(summary) == {**OTHERS, State.CHECKPOINTED: 5}
    assert victim.read_bytes() == checkpoints[victim]


def test_after_a_whole_rollback_other_recipients_may_be_chosen(
    encrypted_job: Path, maildir: Path, specify: Specify, keys: Keys
) -> None:
    jobs.run(specify("rollback", None))
    jobs.run(specify("decrypt", maildir))
    spec = specify("encrypt", None, new_certificates=(keys.stranger.certificate,))
    assert counts(jobs.run(spec)) == REENCRYPTED


def test_a_message_is_put_back_a_second_time(
    encrypted_job: Path, maildir: Path, specify: Specify
) -> None:
    jobs.run(specify("rollback", None))
    before = checker.meanings(maildir, [])
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", None))
    assert counts(jobs.run(specify("rollback", None))) == ROLLED_BACK
    assert checker.meanings(maildir, []) == before


def test_status_says_that_the_job_was_rolled_back(encrypted_job: Path, specify: Specify) -> None:
    jobs.run(specify("rollback", None))
    summary = jobs.status(encrypted_job)
    assert (summary.phase, summary.is_finished) == ("rollback", True)
