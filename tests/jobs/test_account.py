"""The engine on a store like an IMAP account, killed at every point.

There a place is known only after the append, and a revision says nothing of the bytes.
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Unpack

import pytest

from sectool import jobs
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import account, checker, crash
from tests.support.account import Account, export, fill_account
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.specifications import Fields, Specify, SpecifyThere, fitting
from tests.support.stores import registered


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, account.KIND, Account)


@pytest.fixture
def place(sample: list[Mail], tmp_path: Path) -> Path:
    """A directory with the account, where the job will be too."""
    fill(tmp_path / "filled", sample)
    (tmp_path / "trial").mkdir()
    fill_account(tmp_path / "trial" / "account", tmp_path / "filled")
    return tmp_path / "trial"


@pytest.fixture
def run_of(place: Path, specify: Specify) -> SpecifyThere:
    def make(operation: str, /, **changes: Unpack[Fields]) -> jobs.Specification:
        location = f"{account.KIND}:{place / 'account'}"
        usual: Fields = {"job": place / "job"}
        return specify(operation, location, **fitting(operation, usual, changes))

    return make


def meanings(place: Path, *keys: checker.Key) -> Counter[tuple[object, ...]]:
    """What the checker finds in the account."""
    exported = place.parent / "exported"
    shutil.rmtree(exported, ignore_errors=True)
    export(place / "account", exported)
    found: Counter[tuple[object, ...]] = Counter()
    for mail in checker.stored_mail(exported):
        header = checker.header_without_content_fields(mail.raw)
        # The mark of a plaintext copy names the job, which a kill at its beginning unmakes.
        kept = tuple(line for line in header if not line.startswith(b"X-Sectool-Id:"))
        found[mail.folder, mail.flags, kept, checker.inner_digests(mail.raw, keys)] += 1
    return found


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


# Budget of all: 15 seconds.
def test_decrypt_killed_at_every_point_resumes_to_the_same_end(
    place: Path, run_of: SpecifyThere, keys: Keys, whole: bool
) -> None:
    trial = crash.Trial(place, whole=whole, beside=True)
    before = meanings(place, keys.old)
    wanted = counts(jobs.run(run_of("decrypt")))
    assert wanted[State.CHECKPOINTED] == 5
    for where in trial.kills(run_of("decrypt")):
        assert counts(jobs.run(run_of("decrypt"))) == wanted, where
        assert meanings(place, keys.old) == before, where


def test_encrypt_killed_at_every_point_loses_nothing_and_resumes_to_the_same_end(
    place: Path, run_of: SpecifyThere, keys: Keys, whole: bool
) -> None:
    before = meanings(place, keys.old)
    jobs.run(run_of("decrypt"))
    trial = crash.Trial(place, whole=whole)
    wanted = counts(jobs.run(run_of("encrypt")))
    assert wanted[State.REENCRYPTED] == 5
    for where in trial.kills(run_of("encrypt")):
        at_the_kill = meanings(place, keys.old, keys.new)
        for mail, copies in before.items():
            assert copies <= at_the_kill[mail] <= 2 * copies, where
        assert counts(jobs.run(run_of("encrypt"))) == wanted, where
        assert meanings(place, keys.new) == before, where
        assert counts(jobs.run(run_of("encrypt"))) == wanted, where


def test_in_place_killed_at_every_point_counts_no_message_twice(
    place: Path, run_of: SpecifyThere, whole: bool
) -> None:
    trial = crash.Trial(place, whole=whole)
    spec = run_of("decrypt", in_place=True)
    wanted = counts(jobs.run(spec))
    assert wanted[State.DECRYPTED] == 5
    after = meanings(place)
    for where in trial.kills(spec):
        assert counts(jobs.run(spec)) == wanted, where
        assert meanings(place) == after, where


def test_a_whole_job_comes_to_its_end_and_back(
    place: Path, run_of: SpecifyThere, keys: Keys
) -> None:
    before = meanings(place, keys.old)
    jobs.run(run_of("decrypt"))
    jobs.run(run_of("encrypt"))
    assert meanings(place, keys.new) == before
    assert jobs.run(run_of("verify")).counts[State.REENCRYPTED] == 5
    jobs.run(run_of("rollback"))
    assert meanings(place, keys.old) == before
