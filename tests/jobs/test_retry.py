"""--retry: what an earlier run could not do is tried once more, and nothing else."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import UsageError
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Retried
from tests.support import checker
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.specifications import Specify

NOT_DONE = {State.MISSING_KEY: 1, State.MALFORMED: 1}


@pytest.fixture
def both(keys: Keys) -> KeySpecification:
    """The key history, and the key that was missing."""
    return KeySpecification((keys.history, keys.stranger.certificate, keys.stranger.private_key))


def read_times(maildir: Path) -> dict[str, int]:
    return {path.name: path.stat().st_atime_ns for path in maildir.rglob("cur/*")}


def old_access_times(maildir: Path) -> None:
    """Makes any reading show, also where access times are only kept roughly."""
    for path in maildir.rglob("cur/*"):
        os.utime(path, ns=(0, path.stat().st_mtime_ns))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_key_that_was_added_opens_what_was_missing(
    maildir: Path, specify: Specify, both: KeySpecification, workers: int
) -> None:
    jobs.run(specify("decrypt", maildir))
    summary = jobs.run(specify("decrypt", maildir, keys=both, retry=True, workers=workers))
    assert summary.retried == Retried(Counter(NOT_DONE), done=1)
    assert summary.counts[State.CHECKPOINTED] == 6
    assert summary.is_finished


def test_with_the_same_keys_everything_that_was_not_done_is_tried_all_the_same(
    maildir: Path, specify: Specify
) -> None:
    before = jobs.run(specify("decrypt", maildir))
    summary = jobs.run(specify("decrypt", maildir, retry=True))
    assert summary.retried == Retried(Counter(NOT_DONE), done=0)
    assert summary.counts == before.counts


def test_a_plain_run_says_nothing_of_retrying(maildir: Path, specify: Specify) -> None:
    assert jobs.run(specify("decrypt", maildir)).retried is None


def test_only_what_was_not_done_is_read(
    maildir: Path, specify: Specify, both: KeySpecification, tmp_path: Path
) -> None:
    jobs.run(specify("decrypt", maildir))
    old_access_times(maildir)
    probe = next(maildir.rglob("cur/1300000001.*"))
    probe.read_bytes()
    if probe.stat().st_atime_ns == 0:
        pytest.skip("this file system keeps no access times")
    old_access_times(maildir)
    jobs.run(specify("decrypt", maildir, keys=both, retry=True))
    read = {name[:10] for name, time in read_times(maildir).items() if time}
    assert read == {"1300000007", "1300000008"}


def test_new_mail_is_left_to_a_plain_run(
    maildir: Path, specify: Specify, both: KeySpecification, keys: Keys
) -> None:
    jobs.run(specify("decrypt", maildir))
    fill(maildir, [Mail("", "cur/1300000020.M20P1.host:2,", encrypted(20, keys.old))])
    retried = jobs.run(specify("decrypt", maildir, keys=both, retry=True))
    assert retried.counts[State.NOT_SELECTED] == 1
    assert jobs.run(specify("decrypt", maildir, keys=both)).counts[State.CHECKPOINTED] == 7


def test_what_its_owner_moved_to_another_folder_is_found(
    maildir: Path, specify: Specify, both: KeySpecification
) -> None:
    jobs.run(specify("decrypt", maildir))
    missing = next(maildir.rglob("cur/1300000007.*"))
    missing.rename(maildir / "cur" / missing.name)
    summary = jobs.run(specify("decrypt", maildir, keys=both, retry=True))
    assert summary.counts[State.CHECKPOINTED] == 6


def test_a_retry_does_not_finish_decrypting_that_was_not(
    maildir: Path, specify: Specify, both: KeySpecification
) -> None:
    jobs.run(specify("decrypt", maildir, selection=jobs.Selection(folder="Sent")))
    assert not jobs.run(specify("decrypt", maildir, keys=both, retry=True)).is_finished


def test_retrying_where_nothing_was_tried_is_refused(maildir: Path, specify: Specify) -> None:
    with pytest.raises(UsageError, match="never run"):
        jobs.run(specify("decrypt", maildir, retry=True))
    jobs.run(specify("decrypt", maildir))
    with pytest.raises(UsageError, match="never run"):
        jobs.run(specify("encrypt", maildir, retry=True))


def test_encrypting_tries_only_what_failed_before(
    maildir: Path, specify: Specify, tmp_path: Path, keys: Keys
) -> None:
    jobs.run(specify("decrypt", maildir))
    victim = min((tmp_path / "job" / "checkpoints").glob("*.eml"))
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + b"?")
    failed = jobs.run(specify("encrypt", maildir, selection=jobs.Selection(folder="INBOX"))).counts[
        State.FAILED
    ]
    assert failed
    victim.write_bytes(whole)
    waiting = jobs.status(tmp_path / "job").counts[State.CHECKPOINTED]
    summary = jobs.run(specify("encrypt", maildir, retry=True))
    assert summary.retried == Retried(Counter({State.FAILED: failed}), done=failed)
    assert summary.counts[State.CHECKPOINTED] == waiting == 1
    jobs.run(specify("encrypt", maildir))
    assert sum(checker.meanings(maildir, [keys.new]).values()) == 8
