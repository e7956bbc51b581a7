"""What the first replacement fixes, and --restart-phase, which encrypts all of the job anew."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sectool import jobs
from sectool.cms import Profile
from sectool.errors import UsageError
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.checker import Key
from tests.support.mailboxes import Keys, Mail, fill, make_key
from tests.support.specifications import Specify

OTHERS = {State.CLEAR: 1, State.MISSING_KEY: 1, State.MALFORMED: 1}
ENCRYPTED = {**OTHERS, State.REENCRYPTED: 5}


def counts(summary: Summary) -> dict[State, int]:
    assert sum(summary.counts.values()) == summary.messages
    return {state: count for state, count in summary.counts.items() if count}


def history(key: Key) -> KeySpecification:
    return KeySpecification((key.certificate, key.private_key))


@pytest.fixture
def before(sample: list[Mail], tmp_path: Path, keys: Keys) -> Counter[tuple[object, ...]]:
    """What the mailbox means to its owner before anything happened."""
    fill(tmp_path / "untouched", sample)
    return checker.meanings(tmp_path / "untouched", [keys.old])


@pytest.fixture(scope="module")
def mistaken(tmp_path_factory: pytest.TempPathFactory) -> Key:
    """Whose certificate was given first."""
    return make_key(tmp_path_factory.mktemp("mistaken"), "mistaken")


@pytest.fixture
def wrong(maildir: Path, specify: Specify, mistaken: Key, tmp_path: Path) -> Path:
    """A job whose mail was encrypted to a certificate that was not the one wanted."""
    jobs.run(specify("decrypt", maildir))
    jobs.run(specify("encrypt", maildir, new_certificates=(mistaken.certificate,)))
    return tmp_path / "job"


# --- what is fixed ----------------------------------------------------------------------


def test_other_recipients_are_refused_and_both_are_named(
    wrong: Path, maildir: Path, specify: Specify, keys: Keys, mistaken: Key
) -> None:
    census = checker.census(maildir)
    with pytest.raises(UsageError, match=r"--to was [0-9a-f]{16}… and is [0-9a-f]{16}…$"):
        jobs.run(specify("encrypt", maildir))
    both = specify(
        "encrypt", maildir, new_certificates=(keys.new.certificate, mistaken.certificate)
    )
    with pytest.raises(UsageError, match=r"is [0-9a-f]{16}…, [0-9a-f]{16}…$"):
        jobs.run(both)
    assert checker.census(maildir) == census


def test_another_profile_is_refused_and_both_are_named(
    wrong: Path, maildir: Path, specify: Specify, mistaken: Key
) -> None:
    certificates = (mistaken.certificate,)
    spec = specify("encrypt", maildir, new_certificates=certificates, profile=Profile.MODERN)
    with pytest.raises(UsageError, match=r"--profile was compatible and is modern$"):
        jobs.run(spec)


def test_before_anything_was_replaced_nothing_is_fixed(
    maildir: Path, specify: Specify, mistaken: Key
) -> None:
    jobs.run(specify("decrypt", maildir))
    none = jobs.Selection(folder="none of these")
    certificates = (mistaken.certificate,)
    jobs.run(specify("encrypt", maildir, new_certificates=certificates, selection=none))
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED


# --- starting over ------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_everything_is_encrypted_anew_to_the_recipients_given_now(
    wrong: Path,
    maildir: Path,
    specify: Specify,
    keys: Keys,
    before: Counter[tuple[object, ...]],
    workers: int,
) -> None:
    summary = jobs.run(specify("encrypt", maildir, restart_phase=True, workers=workers))
    assert counts(summary) == ENCRYPTED
    assert summary.is_finished
    assert checker.meanings(maildir, [keys.new]) == before
    verified = jobs.run(specify("verify", None, verify_keys=history(keys.new)))
    assert verified.counts[State.VERIFIED] == 5


def test_running_it_twice_changes_nothing(wrong: Path, maildir: Path, specify: Specify) -> None:
    jobs.run(specify("encrypt", maildir, restart_phase=True))
    census = checker.census(maildir)
    assert counts(jobs.run(specify("encrypt", maildir, restart_phase=True))) == ENCRYPTED
    assert counts(jobs.run(specify("encrypt", maildir))) == ENCRYPTED
    assert checker.census(maildir) == census


def test_the_originals_stay_those_from_before_the_move(
    wrong: Path, maildir: Path, specify: Specify, sample: list[Mail], tmp_path: Path
) -> None:
    originals = {path.name for path in (wrong / "originals").iterdir()}
    jobs.run(specify("encrypt", maildir, restart_phase=True))
    assert {path.name for path in (wrong / "originals").iterdir()} == originals
    jobs.run(specify("rollback", None))
    fill(tmp_path / "untouched", sample)
    assert checker.meanings(maildir, []) == checker.meanings(tmp_path / "untouched", [])


def test_a_rollback_in_the_middle_puts_everything_back(
    wrong: Path, maildir: Path, specify: Specify, sample: list[Mail], tmp_path: Path
) -> None:
    some = jobs.Selection(limit=2)
    jobs.run(specify("encrypt", maildir, restart_phase=True, selection=some))
    summary = jobs.run(specify("rollback", None))
    assert counts(summary) == {**OTHERS, State.ROLLED_BACK: 5}
    fill(tmp_path / "untouched", sample)
    assert checker.meanings(maildir, []) == checker.meanings(tmp_path / "untouched", [])


def test_what_verifying_found_not_to_open_is_encrypted_anew(
    wrong: Path, maildir: Path, specify: Specify, keys: Keys
) -> None:
    failed = jobs.run(specify("verify", None, verify_keys=history(keys.new)))
    assert failed.counts[State.FAILED] == 5
    assert counts(jobs.run(specify("encrypt", maildir, restart_phase=True))) == ENCRYPTED


def test_half_way_the_rest_waits_unproven_and_keeps_its_checkpoints(
    wrong: Path, maildir: Path, specify: Specify, mistaken: Key
) -> None:
    jobs.run(specify("verify", None, verify_keys=history(mistaken)))
    half = jobs.run(
        specify("encrypt", maildir, restart_phase=True, selection=jobs.Selection(limit=2))
    )
    assert counts(half) == {**OTHERS, State.REENCRYPTED: 2, State.CHECKPOINTED: 3}
    assert not half.is_finished
    with pytest.raises(UsageError, match="other recipients"):
        jobs.run(specify("encrypt", maildir, new_certificates=(mistaken.certificate,)))
    jobs.run(specify("purge", None, accept_unproven=True))
    done = jobs.run(specify("encrypt", maildir))
    assert (counts(done), done.job_data_removed) == ({**OTHERS, State.REENCRYPTED: 5}, 2)


def test_what_is_purged_cannot_be_encrypted_anew_and_the_run_says_so(
    wrong: Path, maildir: Path, specify: Specify, mistaken: Key
) -> None:
    jobs.run(specify("purge", None, verify_keys=history(mistaken)))
    census = checker.census(maildir)
    summary = jobs.run(specify("encrypt", maildir, restart_phase=True))
    assert (counts(summary), summary.job_data_removed) == ({**OTHERS, State.VERIFIED: 5}, 5)
    assert summary.exit_code == 3
    assert checker.census(maildir) == census


def test_a_job_that_encrypted_mail_in_clear_is_rolled_back_first(
    maildir: Path, specify: Specify, mistaken: Key
) -> None:
    jobs.run(specify("decrypt", maildir))
    certificates = (mistaken.certificate,)
    jobs.run(specify("encrypt", maildir, new_certificates=certificates, include_clear=True))
    census = checker.census(maildir)
    with pytest.raises(UsageError, match="1 messages were in clear before"):
        jobs.run(specify("encrypt", maildir, restart_phase=True))
    assert checker.census(maildir) == census
    jobs.run(specify("rollback", None))
    jobs.run(specify("decrypt", maildir))
    summary = jobs.run(specify("encrypt", maildir, include_clear=True))
    assert summary.counts[State.REENCRYPTED] == 6


def test_a_dry_run_of_it_changes_nothing(wrong: Path, maildir: Path, specify: Specify) -> None:
    log = (wrong / "job.db").read_bytes()
    summary = jobs.run(specify("encrypt", maildir, restart_phase=True, dry_run=True))
    assert summary.space
    assert (wrong / "job.db").read_bytes() == log


def test_a_job_in_place_is_encrypted_anew_too(
    maildir: Path, specify: Specify, keys: Keys, before: Counter[tuple[object, ...]], mistaken: Key
) -> None:
    jobs.run(specify("decrypt", maildir, in_place=True))
    jobs.run(specify("encrypt", maildir, new_certificates=(mistaken.certificate,)))
    assert counts(jobs.run(specify("encrypt", maildir, restart_phase=True))) == ENCRYPTED
    assert checker.meanings(maildir, [keys.new]) == before


# Budget: 5 seconds.
def test_killed_at_every_point_it_loses_nothing_and_ends_the_same(
    wrong: Path,
    maildir: Path,
    specify: Specify,
    keys: Keys,
    before: Counter[tuple[object, ...]],
    tmp_path: Path,
    mistaken: Key,
    whole: bool,
) -> None:
    place = tmp_path / "trial"
    place.mkdir()
    maildir = maildir.rename(place / "Maildir")
    spec = specify("encrypt", maildir, job=wrong.rename(place / "job"), restart_phase=True)
    trial = crash.Trial(place, whole=whole, beside=True)
    for where in trial.kills(spec):
        at_the_kill = checker.meanings(maildir, [mistaken, keys.new])
        for mail, copies in before.items():
            assert copies <= at_the_kill[mail] <= 2 * copies, where
        assert counts(jobs.run(spec)) == ENCRYPTED, where
        assert checker.meanings(maildir, [keys.new]) == before, where
        if trial.is_run_once_more():
            census = checker.census(maildir)
            assert counts(jobs.run(spec)) == ENCRYPTED, where
            assert checker.census(maildir) == census, where
