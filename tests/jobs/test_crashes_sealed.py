"""Sealed checkpoints, killed at every named point: nothing lies in clear, the same end (F01)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Unpack

import pytest

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.specifications import Fields, Specify, fitting

PLAINTEXT = b"this is message"


class Sealed:
    """A mailbox, and a job whose checkpoints are sealed, in one directory."""

    def __init__(self, directory: Path, sample: list[Mail], specify: Specify, keys: Keys) -> None:
        self.directory = directory / "trial"
        self._specify = specify
        self._keys = keys
        self.maildir = self.directory / "Maildir"
        self.job = self.directory / "job"
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        # One mail of its own, one to oneself, one in clear.
        fill(self.maildir, [sample[number] for number in (0, 3, 4, 5)])

    def specification(self, operation: str, /, **changes: Unpack[Fields]) -> jobs.Specification:
        opening = KeySpecification((self._keys.transport.private_key,))
        certificates = (self._keys.transport.certificate,)
        usual: Fields = {"job": self.job, "seal_keys": opening, "seal_to": certificates}
        return self._specify(operation, self.maildir, **fitting(operation, usual, changes))

    def checkpoints(self) -> set[str]:
        return {path.name for path in (self.job / "checkpoints").iterdir() if path.is_file()}

    def in_clear(self) -> list[Path]:
        """Files with plaintext, wherever the run may have written."""
        places = (self.directory, self.temporary)
        files = [path for place in places for path in place.rglob("*") if path.is_file()]
        return [path for path in files if PLAINTEXT in path.read_bytes()]


@pytest.fixture
def sealed(
    tmp_path: Path,
    sample: list[Mail],
    specify: Specify,
    keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
) -> Sealed:
    sealed = Sealed(tmp_path, sample, specify, keys)
    monkeypatch.setenv("TMPDIR", str(sealed.temporary))
    return sealed


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


# Budget of the three together: 10 seconds.
def test_decrypt_killed_at_every_point_leaves_nothing_in_clear_and_resumes_to_the_same_end(
    sealed: Sealed, whole: bool
) -> None:
    trial = crash.Trial(sealed.directory, whole=whole, beside=True)
    spec = sealed.specification("decrypt", seal_keys=None)
    census = checker.census(sealed.maildir)
    jobs.run(spec)
    checkpoints = sealed.checkpoints()
    assert {Path(name).suffix for name in checkpoints} == {".p7m"}
    assert sealed.in_clear() == []
    for where in trial.kills(spec):
        assert sealed.in_clear() == [], where
        resumed = jobs.run(spec)
        assert (resumed.counts[State.CHECKPOINTED], resumed.messages) == (3, 4), where
        assert sealed.in_clear() == [], where
        assert sealed.checkpoints() == checkpoints, where
        assert checker.census(sealed.maildir) == census, where
    assert jobs.run(sealed.specification("encrypt")).counts[State.REENCRYPTED] == 3


def test_encrypt_killed_at_every_point_loses_nothing_and_writes_nothing_in_clear(
    sealed: Sealed, keys: Keys, whole: bool
) -> None:
    before: Counter[tuple[object, ...]] = checker.meanings(sealed.maildir, [keys.old])
    jobs.run(sealed.specification("decrypt", seal_keys=None))
    trial = crash.Trial(sealed.directory, whole=whole, beside=True)
    spec = sealed.specification("encrypt")
    wanted = counts(jobs.run(spec))
    assert wanted[State.REENCRYPTED] == 3
    for where in trial.kills(spec):
        assert sealed.in_clear() == [], where
        at_the_kill = checker.meanings(sealed.maildir, [keys.old, keys.new])
        for mail, copies in before.items():
            assert copies <= at_the_kill[mail] <= 2 * copies, where
        assert counts(jobs.run(spec)) == wanted, where
        assert checker.meanings(sealed.maildir, [keys.new]) == before, where
        census = checker.census(sealed.maildir)
        assert counts(jobs.run(spec)) == wanted, where
        assert checker.census(sealed.maildir) == census, where


def test_in_place_killed_at_every_point_keeps_the_job_directory_without_plaintext(
    sealed: Sealed, whole: bool
) -> None:
    trial = crash.Trial(sealed.directory, whole=whole, beside=True)
    spec = sealed.specification("decrypt", in_place=True)
    for where in trial.kills(spec):
        assert [path for path in sealed.in_clear() if sealed.job in path.parents] == [], where
        assert jobs.run(spec).counts[State.DECRYPTED] == 3, where
        assert [path for path in sealed.in_clear() if sealed.job in path.parents] == [], where
        assert len(sealed.in_clear()) == 3, where
