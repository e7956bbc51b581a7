"""The core of the engine on every kind of store, killed at every point."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool import jobs
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker
from tests.support.mailboxes import Keys, Mail, Specify, fill
from tests.support.one_file_world import fill_one_file

Run = Callable[..., jobs.JobSpec]
Meanings = Counter[tuple[object, ...]]


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


class Place:
    """A directory with a mailbox of a kind, where the job will be too."""

    def __init__(self, directory: Path, kind: str, sample: list[Mail], specify: Specify) -> None:
        self.directory = directory / "trial"
        self.kind = kind
        self.mailbox = self.directory / "mailbox"
        self._specify = specify
        if kind == "maildir":
            fill(self.mailbox, sample)
        else:
            fill(directory / "filled", sample)
            self.directory.mkdir()
            fill_one_file(self.mailbox, kind, directory / "filled")

    def run_of(self, operation: str, **changes: object) -> jobs.JobSpec:
        location = f"{self.kind}:{self.mailbox}"
        return self._specify(operation, location, job=self.directory / "job", **changes)

    def meanings(self, *keys: checker.Key) -> Meanings:
        """What the checker finds; without the mark of plaintext, which names the job."""
        return checker.meanings(self.mailbox, keys)


@pytest.fixture(params=["maildir", *checker.KINDS])
def place(
    request: pytest.FixtureRequest, sample: list[Mail], tmp_path: Path, specify: Specify
) -> Place:
    return Place(tmp_path, request.param, sample, specify)


def test_a_whole_job_comes_to_its_end_and_back(place: Place, keys: Keys) -> None:
    before = place.meanings(keys.old)
    assert jobs.run(place.run_of("decrypt")).counts[State.CHECKPOINTED] == 5
    assert jobs.run(place.run_of("encrypt")).counts[State.REENCRYPTED] == 5
    assert place.meanings(keys.new) == before
    assert jobs.run(place.run_of("verify")).counts[State.REENCRYPTED] == 5
    assert jobs.run(place.run_of("rollback")).counts[State.ROLLED_BACK] == 5
    assert place.meanings(keys.old) == before
    assert checker.waiting(place.mailbox) == 0
