"""The core of the engine on every kind of store, killed at every point.

On Maildirs other modules kill the engine as well, so that here they are left to ``--all``, and
so is the model of a tree of ``.eml`` files, of which the store itself is tried.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import pytest

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.kinds import KINDS, fill_kind, lose_first, url_of
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.specifications import Fields, Specify

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
            fill_kind(self.mailbox, kind, directory / "filled")

    def run_of(self, operation: str, **changes: Unpack[Fields]) -> jobs.Specification:
        changes.setdefault("job", self.directory / "job")
        return self._specify(operation, url_of(self.kind, self.mailbox), **changes)

    def move_to(self, kind: str) -> None:
        """Copies all mail into a store of another kind, which is the mailbox from now on."""
        there = self.directory / "moved"
        fill_kind(there, kind, self.mailbox)
        self.kind, self.mailbox = kind, there

    def meanings(self, *keys: checker.Key) -> Meanings:
        """What the checker finds; without the mark of plaintext, which names the job."""
        return Counter(
            checker.meaning(replace(mail, raw=MARK.sub(b"", mail.raw)), keys)
            for mail in checker.stored_mail(self.mailbox)
        )


MARK = re.compile(rb"^X-Sectool-Id: .*\n", re.MULTILINE)


@pytest.fixture(
    params=[
        *(pytest.param(kind, marks=pytest.mark.all_only) for kind in ("maildir", "emllike")),
        *(kind for kind in KINDS if kind != "emllike"),
    ]
)
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


# --- killed at every point: budget of all of them, 40 seconds ---------------------------


OF_FILES = {
    *("mbox.place.after", "mbox.keep.after", "mbox.exchange.after"),
    *("eml.place.after", "eml.ready.after", "eml.retire.after"),
    *("maildir.place.after", "maildir.retire.after"),
}
"""Acts after which something lies where it did not; the others are left to ``--all``."""


def of_the_store(names: list[str]) -> list[int]:
    """The sample: one passing of what comes after each act of the store, of the middle ones."""
    passings: dict[str, list[int]] = {}
    for number, name in enumerate(names, start=1):
        if (name.startswith("store.") and name.endswith(".after")) or name in OF_FILES:
            passings.setdefault(name, []).append(number)
    return sorted(numbers[(len(numbers) - 1) // 2] for numbers in passings.values())


@pytest.mark.all_only
@pytest.mark.parametrize(
    ("operation", "state"),
    [
        ("decrypt", State.CHECKPOINTED),
        ("verify", State.VERIFIED),
        ("purge", State.VERIFIED),
    ],
)
def test_what_replaces_nothing_leaves_the_mailbox_wherever_it_is_killed(
    place: Place, keys: Keys, operation: str, state: State
) -> None:
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    if operation != "decrypt":
        jobs.run(place.run_of("decrypt"))
        jobs.run(place.run_of("encrypt"))
    trial = crash.Trial(place.directory, whole=True)
    census = checker.census(place.mailbox)
    spec = (
        place.run_of(operation)
        if operation == "decrypt"
        else place.run_of(operation, verify_keys=new)
    )
    wanted = counts(jobs.run(spec))
    assert wanted[state] == 5
    for where in trial.kills(spec):
        assert counts(jobs.run(spec)) == wanted, where
        assert checker.census(place.mailbox) == census, where


class Judge:
    """Holds what a kill left, and what the run made of it afterwards."""

    def __init__(self, place: Place, *keys: checker.Key) -> None:
        self._place = place
        self._keys = keys
        self._before = place.meanings(*keys)
        self._most = 2 if place.kind in TWO_COPIES else 1

    def hold_at_the_kill(self, where: str) -> None:
        """Nothing is lost, and nothing is there more often than it may be."""
        found = self._place.meanings(*self._keys)
        for mail, copies in self._before.items():
            assert copies <= found[mail] <= self._most * copies, where

    def hold_resumed(
        self,
        spec: jobs.Specification,
        wanted: dict[State, int],
        after: Meanings,
        where: str,
        *,
        once_more: bool,
    ) -> None:
        """The same end; a second run changes nothing, where it is asked for."""
        assert counts(jobs.run(spec)) == wanted, where
        assert self._place.meanings(*self._keys) == after, where
        assert checker.waiting(self._place.mailbox) == 0, where
        if once_more:
            census = checker.census(self._place.mailbox)
            assert counts(jobs.run(spec)) == wanted, where
            assert checker.census(self._place.mailbox) == census, where


TWO_COPIES = {"maildir", "nested", "maildirlike", "imaplike"}
"""Kinds in which a message has two copies for a moment."""

OPERATIONS: dict[str, tuple[list[str], Fields, State]] = {
    "encrypt": (["decrypt"], {}, State.REENCRYPTED),
    "rewrap": ([], {"or_reencrypt": True}, State.REENCRYPTED),
    "rollback": (["decrypt", "encrypt"], {}, State.ROLLED_BACK),
    "in place": ([], {"in_place": True}, State.DECRYPTED),
}
"""What comes first, how it is run, and what comes of five of the sample."""


@pytest.mark.parametrize("operation", OPERATIONS)
def test_replacing_killed_at_every_point_loses_nothing_and_resumes_to_the_same_end(
    place: Place, keys: Keys, whole: bool, operation: str
) -> None:
    first, options, state = OPERATIONS[operation]
    for one in first:
        jobs.run(place.run_of(one))
    trial = crash.Trial(place.directory, whole=whole)
    judge = Judge(place, keys.old, keys.new)
    spec = place.run_of("decrypt" if operation == "in place" else operation, **options)
    wanted = counts(jobs.run(spec))
    assert wanted[state] + (wanted[State.REWRAPPED] if operation == "rewrap" else 0) == 5
    after = place.meanings(keys.old, keys.new)
    for where in trial.kills(spec, None if whole else of_the_store):
        if operation != "in place":  # a plaintext does not mean the same to the checker
            judge.hold_at_the_kill(where)
        judge.hold_resumed(spec, wanted, after, where, once_more=trial.is_run_once_more())


# --- into a store of another kind ---------------------------------------------------------


@pytest.fixture(params=KINDS)
def moved(
    request: pytest.FixtureRequest, sample: list[Mail], tmp_path: Path, specify: Specify
) -> Place:
    """A mailbox that was decrypted as a Maildir and copied into a store of another kind."""
    place = Place(tmp_path, "maildir", sample, specify)
    jobs.run(place.run_of("decrypt"))
    place.move_to(request.param)
    return place


def test_a_mailbox_that_moved_into_a_store_of_another_kind_is_encrypted_and_put_back(
    moved: Place, keys: Keys
) -> None:
    before = moved.meanings(keys.old)
    crash.killed_at(moved.run_of("encrypt"), "joblog.commit.after:9")
    assert jobs.run(moved.run_of("encrypt")).counts[State.REENCRYPTED] == 5
    assert moved.meanings(keys.new) == before
    assert jobs.run(moved.run_of("rollback")).counts[State.ROLLED_BACK] == 5
    assert moved.meanings(keys.old) == before


@pytest.mark.all_only
def test_what_a_move_lost_comes_back_once_wherever_the_run_is_killed(
    moved: Place, keys: Keys, whole: bool
) -> None:
    lose_first(moved.kind, moved.mailbox)
    spec = moved.run_of("encrypt", restore_lost=True)
    trial = crash.Trial(moved.directory, whole=True)
    wanted = counts(jobs.run(spec))
    assert wanted[State.REENCRYPTED] == 5
    after = moved.meanings(keys.new)
    for where in trial.kills(spec, None if whole else of_the_store):
        Judge(moved, keys.new).hold_resumed(spec, wanted, after, where, once_more=True)
