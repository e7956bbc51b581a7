"""Sealed checkpoints, killed at every named point: nothing lies in clear, the same end (F01)."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.mailboxes import Keys, Mail, Specify, fill

PLAINTEXT = b"this is message"


class Trial:
    """A mailbox and a job, set up anew for every crash point."""

    def __init__(self, directory: Path, sample: list[Mail], specify: Specify, keys: Keys) -> None:
        self._directory = directory / "trial"
        self._prepared = directory / "prepared"
        self._specify = specify
        self._keys = keys
        self.maildir = self._directory / "Maildir"
        self.job = self._directory / "job"
        self.temporary = directory / "tmp"
        self.temporary.mkdir()
        # One mail of its own, one to oneself, one in clear.
        fill(self.maildir, [sample[number] for number in (0, 3, 4, 5)])

    def specification(self, operation: str, **changes: object) -> jobs.JobSpec:
        opening = KeySpecification((self._keys.transport.private_key,))
        sealing: dict[str, object] = {"seal_keys": opening}
        if operation == "decrypt":
            sealing["seal_to"] = (self._keys.transport.certificate,)
        fields = {**sealing, **changes}
        return self._specify(operation, self.maildir, job=self.job, **fields)

    def keep(self) -> None:
        """What is there now is what every trial begins with."""
        self._directory.rename(self._prepared)

    def put_back(self) -> None:
        if self._directory.exists():
            shutil.rmtree(self._directory)
        shutil.copytree(self._prepared, self._directory)

    def checkpoints(self) -> set[str]:
        return {path.name for path in (self.job / "checkpoints").iterdir() if path.is_file()}

    def in_clear(self) -> list[Path]:
        """Files with plaintext, wherever the run may have written."""
        places = (self._directory, self.temporary)
        files = [path for place in places for path in place.rglob("*") if path.is_file()]
        return [path for path in files if PLAINTEXT in path.read_bytes()]


@pytest.fixture
def trial(
    tmp_path: Path,
    sample: list[Mail],
    specify: Specify,
    keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
) -> Trial:
    trial = Trial(tmp_path, sample, specify, keys)
    monkeypatch.setenv("TMPDIR", str(trial.temporary))
    return trial


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def numbers(trial: Trial, spec: jobs.JobSpec, trace: Path) -> range:
    trial.put_back()
    names = crash.points(spec, trace)
    assert len(names) > 10
    return range(1, len(names) + 1)


def test_decrypt_killed_at_every_point_leaves_nothing_in_clear_and_resumes_to_the_same_end(
    trial: Trial, tmp_path: Path
) -> None:
    trial.keep()
    spec = trial.specification("decrypt", seal_keys=None)
    numbered = numbers(trial, spec, tmp_path / "trace")
    checkpoints = trial.checkpoints()
    assert {Path(name).suffix for name in checkpoints} == {".p7m"}
    assert trial.in_clear() == []
    for number in numbered:
        trial.put_back()
        census = checker.census(trial.maildir)
        crash.killed_at(spec, number)
        assert trial.in_clear() == [], number
        resumed = jobs.run(spec)
        assert (resumed.counts[State.CHECKPOINTED], resumed.messages) == (3, 4), number
        assert trial.in_clear() == [], number
        assert trial.checkpoints() == checkpoints, number
        assert checker.census(trial.maildir) == census, number
    assert jobs.run(trial.specification("encrypt")).counts[State.REENCRYPTED] == 3


def test_encrypt_killed_at_every_point_loses_nothing_and_writes_nothing_in_clear(
    trial: Trial, tmp_path: Path, keys: Keys
) -> None:
    before: Counter[tuple[object, ...]] = checker.meanings(trial.maildir, [keys.old])
    jobs.run(trial.specification("decrypt", seal_keys=None))
    trial.keep()
    spec = trial.specification("encrypt")
    numbered = numbers(trial, spec, tmp_path / "trace")
    wanted = counts(jobs.run(spec))
    assert wanted[State.REENCRYPTED] == 3
    for number in numbered:
        trial.put_back()
        crash.killed_at(spec, number)
        assert trial.in_clear() == [], number
        at_the_kill = checker.meanings(trial.maildir, [keys.old, keys.new])
        for mail, copies in before.items():
            assert copies <= at_the_kill[mail] <= 2 * copies, number
        assert counts(jobs.run(spec)) == wanted, number
        assert checker.meanings(trial.maildir, [keys.new]) == before, number
        census = checker.census(trial.maildir)
        assert counts(jobs.run(spec)) == wanted, number
        assert checker.census(trial.maildir) == census, number


def test_in_place_killed_at_every_point_keeps_the_job_directory_without_plaintext(
    trial: Trial, tmp_path: Path
) -> None:
    trial.keep()
    spec = trial.specification("decrypt", in_place=True)
    numbered = numbers(trial, spec, tmp_path / "trace")
    for number in numbered:
        trial.put_back()
        crash.killed_at(spec, number)
        assert [path for path in trial.in_clear() if trial.job in path.parents] == [], number
        assert jobs.run(spec).counts[State.DECRYPTED] == 3, number
        assert [path for path in trial.in_clear() if trial.job in path.parents] == [], number
        assert len(trial.in_clear()) == 3, number
