"""What a store fails at for a moment is done in the end, once, also where it acted and failed."""

from __future__ import annotations

import random
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Unpack

import pytest

from sectool import jobs
from sectool.errors import Again, Interrupted, SectoolError, ServerUnavailable
from sectool.mailbox import Access, Mailbox, Retrying, retrying
from sectool.mailbox.recognise import STORES
from sectool.message import Flags, MessageRef
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.failing import Failing, Moment
from tests.support.kinds import fill_kind
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.one_file import KINDS
from tests.support.one_file_world import OneFileWorld
from tests.support.specifications import Fields, Specify

USUAL = {
    ("maildir", "walk", Moment.HALFWAY),
    ("imaplike", "walk", Moment.HALFWAY),
    *((kind, name, Moment.AFTER) for kind in KINDS for name in ("write", "place", "retire")),
    *((kind, "retire", Moment.AFTER) for kind in ("mbox", "eml")),
} - {("maildirlike", name, Moment.AFTER) for name in ("write", "place")}
"""What the normal run lets fail, and where."""
TRIED = ("maildir", "mbox", "eml", *KINDS)
READING = ("folders", "walk", "fetch", "find")
WRITING = ("write", "place", "retire")

Meanings = Counter[tuple[object, ...]]


@dataclass
class Faults:
    """Fails the calls of one name at one moment, so many times."""

    name: str = ""
    moment: Moment = Moment.BEFORE
    times: int = 0
    error: Callable[[], SectoolError] = lambda: ServerUnavailable("try again later")
    failed: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    def __call__(self, name: str, moment: Moment) -> None:
        self.calls[name] += moment is Moment.BEFORE
        if (name, moment) == (self.name, self.moment) and self.failed < self.times:
            self.failed += 1
            raise self.error()


@dataclass
class Place:
    """A mailbox in a store that fails, and its job."""

    directory: Path
    location: str
    mailbox: Path
    """What it is kept in."""
    specify: Specify
    faults: list[Callable[[str, Moment], None]]

    def run(
        self, operation: str, fault: Callable[[str, Moment], None], **changes: Unpack[Fields]
    ) -> Summary:
        self.faults[:] = [fault]
        changes.setdefault("job", self.directory / "job")
        return jobs.run(self.specify(operation, self.location, **changes))

    def meanings(self, *keys: checker.Key) -> Meanings:
        """What the checker finds in it."""
        return Counter(
            (
                mail.folder,
                mail.flags,
                checker.header_without_content_fields(mail.raw),
                checker.inner_digests(mail.raw, keys),
            )
            for mail in checker.stored_mail(self.mailbox)
        )


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "WAITS", (0.0,) * len(retrying.WAITS))


@pytest.fixture(params=TRIED)
def place(
    request: pytest.FixtureRequest,
    sample: list[Mail],
    tmp_path: Path,
    specify: Specify,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    faults: list[Callable[[str, Moment], None]] = [Faults()]
    kind = str(request.param)
    store = STORES[kind]

    def fault(name: str, moment: Moment) -> None:
        faults[0](name, moment)

    def open_failing(access: Access) -> Mailbox:
        return Retrying(Failing(store(access), fault))

    monkeypatch.setitem(STORES, kind, open_failing)
    (tmp_path / "trial").mkdir()
    mailbox = tmp_path / "trial" / "box"
    fill(tmp_path / "filled", sample)
    if kind == "maildir":
        shutil.move(tmp_path / "filled", mailbox)
    else:
        fill_kind(mailbox, kind, tmp_path / "filled")
    return Place(tmp_path / "trial", f"{kind}:{mailbox}", mailbox, specify, faults)


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


@pytest.mark.parametrize(
    ("place", "name", "moment"),
    [
        pytest.param(*case, marks=() if case in USUAL else pytest.mark.all_only)
        for case in product(TRIED, (*READING, *WRITING), Moment)
    ],
    indirect=["place"],
)
def test_a_call_that_fails_for_a_moment_leaves_no_trace(
    name: str, moment: Moment, place: Place, keys: Keys
) -> None:
    before = place.meanings(keys.old)
    place.run("decrypt", Faults(name, moment, 2))
    faults = Faults(name, moment, len(retrying.WAITS))
    summary = place.run("encrypt", faults)
    assert faults.failed or name == "find" or moment is Moment.HALFWAY
    assert counts(summary)[State.REENCRYPTED] == 5
    assert not list((place.directory / "job" / "spool").glob("*"))
    assert place.meanings(keys.new) == before
    again = place.run("encrypt", Faults())
    assert counts(again) == counts(summary)
    assert place.meanings(keys.new) == before
    assert counts(place.run("rollback", Faults(name, moment, 2)))[State.ROLLED_BACK] == 5
    assert place.meanings(keys.old) == before


@pytest.mark.parametrize(
    "moment",
    [Moment.BEFORE, *(pytest.param(each, marks=pytest.mark.all_only) for each in list(Moment)[1:])],
)
@pytest.mark.parametrize(
    ("place", "name"),
    [
        # The normal run has each call, each on another kind.
        pytest.param(kind, name, marks=() if (n + m) % 4 == 0 else pytest.mark.all_only)
        for n, kind in enumerate(TRIED)
        for m, name in enumerate(WRITING)
    ],
    indirect=["place"],
)
def test_what_fails_for_long_ends_the_run_and_the_next_one_resumes(
    name: str, moment: Moment, place: Place, keys: Keys
) -> None:
    before = place.meanings(keys.old)
    place.run("decrypt", Faults())
    # One that acts each time comes to its end in spite of it.
    fails = pytest.raises(ServerUnavailable) if moment is Moment.BEFORE else nullcontext()
    with fails, suppress(*[] if moment is Moment.BEFORE else [ServerUnavailable]):
        place.run("encrypt", Faults(name, moment, 1000))
    after = place.meanings(keys.old, keys.new)
    assert all(copies <= after[mail] <= 2 * copies for mail, copies in before.items())
    assert counts(place.run("encrypt", Faults()))[State.REENCRYPTED] == 5
    assert place.meanings(keys.new) == before


class DeletesNewCopies:
    """An owner who deletes the new copies as the store fails to retire the old ones."""

    def __init__(self, mailbox: Path) -> None:
        self._mailbox = mailbox
        self._before: set[int] | None = None
        self.deleted = 0

    def __call__(self, name: str, moment: Moment) -> None:
        with closing(sqlite3.connect(self._mailbox)) as rows, rows:
            there = {number for (number,) in rows.execute("SELECT number FROM message")}
            if self._before is None:
                self._before = there
            new = [(number,) for number in there - self._before]
            if (name, moment) != ("retire", Moment.BEFORE) or not new:
                return
            self.deleted += rows.executemany("DELETE FROM message WHERE number = ?", new).rowcount
        raise ServerUnavailable("try again later")


@pytest.mark.parametrize("place", ["maildirlike", "imaplike"], indirect=True)
def test_new_copies_that_their_owner_deletes_are_not_made_of_bytes_that_are_gone(
    place: Place, keys: Keys
) -> None:
    before = place.meanings(keys.old)
    place.run("decrypt", Faults())
    owner = DeletesNewCopies(place.mailbox)
    place.run("encrypt", owner)
    assert owner.deleted == 5
    assert place.meanings(keys.old) == before
    assert counts(place.run("encrypt", Faults()))[State.REENCRYPTED] == 5
    assert place.meanings(keys.new) == before


class Unsteady:
    """Fails a third of all calls, at any moment; never one more often than it is tried."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._in_a_row = 0

    def __call__(self, name: str, moment: Moment) -> None:
        if name != "intend" and self._in_a_row < 2 and self._random.random() < 0.15:
            self._in_a_row += 1
            raise ServerUnavailable("try again later")
        if moment is Moment.AFTER:
            self._in_a_row = 0


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.all_only) for n in range(1, 30))]
)
def test_an_unsteady_store_comes_to_the_same_end(seed: int, place: Place, keys: Keys) -> None:
    before = place.meanings(keys.old)
    unsteady = Unsteady(seed)
    for operation in ("decrypt", "encrypt", "encrypt"):
        for _ in range(20):  # that often at most the failures in a row are too many
            try:
                summary = place.run(operation, unsteady)
                break
            except ServerUnavailable:
                continue
    assert counts(summary)[State.REENCRYPTED] == 5
    assert place.meanings(keys.new) == before


@pytest.mark.all_only
@pytest.mark.parametrize("name", WRITING)
@pytest.mark.parametrize("is_late", [False, True])
def test_a_run_that_is_killed_while_it_tries_again_resumes_to_the_same_end(
    name: str, is_late: bool, place: Place, keys: Keys
) -> None:
    before = place.meanings(keys.old)
    place.run("decrypt", Faults())
    trial = crash.Trial(place.directory, whole=False)
    spec = place.specify("encrypt", place.location, job=place.directory / "job")
    fault: Callable[[str, Moment], None] = Faults(name, Moment.AFTER, 2)
    if is_late and place.mailbox.is_file():
        fault = LateAppends(place.mailbox, lasts=False)
    place.faults[:] = [fault]
    for where in trial.kills(spec):
        after = place.meanings(keys.old, keys.new)
        assert all(copies <= after[mail] <= 2 * copies for mail, copies in before.items()), where
        place.run("encrypt", Faults())
        assert place.meanings(keys.new) == before, where
        place.faults[:] = [fault]


def test_an_error_that_is_for_later_is_not_tried_again(place: Place) -> None:
    class Broken(ServerUnavailable):
        again = Again.LATER

    place.run("decrypt", Faults())
    for name in (*READING[:2], *WRITING):
        faults = Faults(name, Moment.BEFORE, 1, lambda: Broken("out of order"))
        with pytest.raises(Broken):
            place.run("encrypt", faults)
        assert faults.failed == 1


def test_a_wait_ends_when_the_run_is_to_stop(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "WAITS", (3600.0,))
    place.run("decrypt", Faults())

    class Pressed:
        """Pressed once the store has failed."""

        def check(self) -> None:
            if faults.failed:
                raise Interrupted("interrupted")

    for name in ("walk", *WRITING):
        faults = Faults(name, Moment.BEFORE, 1000)
        place.faults[:] = [faults]
        spec = place.specify("encrypt", place.location, job=place.directory / "job")
        with pytest.raises(Interrupted):
            jobs.run(spec, cancel=Pressed())


def test_the_waits_grow_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(waits))
    tries = retrying.Tries()
    spans: list[float] = []
    with suppress(ServerUnavailable):
        while len(spans) < 100:
            before = sum(waits)
            tries.wait_after(ServerUnavailable("try again later"))
            spans.append(sum(waits) - before)
    assert spans == sorted(spans)
    assert 0 < spans[0] < spans[-1] < 60
    assert len(spans) < 10


# --- a copy that comes late ----------------------------------------------------------------------


class LateAppends:
    """A server that loses the connection after it was sent new copies, and takes them later.

    Args:
        account: where they come.
        lasts: whether it is away from then on.
    """

    def __init__(self, account: Path, *, lasts: bool) -> None:
        self._account = account
        self._lasts = lasts
        self._before: set[MessageRef] = set()
        self._taken: list[checker.StoredMail] = []
        self._groups = 0

    def __call__(self, name: str, moment: Moment) -> None:
        if self._taken and self._lasts:
            raise ServerUnavailable("it is away")
        if name != "place" or self._taken:
            return
        self._groups += moment is Moment.BEFORE
        if self._groups == 1:
            return  # the server is tried with one message first
        if moment is Moment.BEFORE:
            self._before = set(self._mail())
        if moment is Moment.AFTER:
            mail = self._mail()
            for ref in mail.keys() - self._before:
                self._taken.append(mail[ref])
                self._world.remove(ref)
            raise ServerUnavailable("the connection was lost")

    @property
    def _world(self) -> OneFileWorld:
        return OneFileWorld(self._account, "imaplike", new=False)

    def _mail(self) -> dict[MessageRef, checker.StoredMail]:
        return {
            MessageRef(mail.folder.removeprefix(".") or "INBOX", mail.base_name): mail
            for mail in checker.stored_mail(self._account)
        }

    def deliver(self, folder: str = "") -> None:
        """It takes them now; in a folder that their owner moves them to at once, or as meant."""
        assert len(self._taken) == 4
        for mail in self._taken:
            there = folder or mail.folder.removeprefix(".") or "INBOX"
            flags = Flags(frozenset(checker.FLAGS[letter] for letter in mail.flags))
            date = datetime.fromisoformat(mail.date)
            self._world.deliver(there, mail.raw, flags=flags, date=date)


def abandoned(place: Place) -> int:
    """How many copies the job still expects."""
    with closing(sqlite3.connect(place.directory / "job" / "job.db")) as log:
        return int(log.execute("SELECT count(*) FROM abandoned").fetchone()[0])


# What a Maildir never placed does not turn up in it.
ON_THE_ACCOUNT = pytest.mark.parametrize("place", ["imaplike"], indirect=True)


@pytest.fixture
def slow(place: Place) -> Place:
    place.run("decrypt", Faults())
    return place


@ON_THE_ACCOUNT
@pytest.mark.parametrize("lasts", [False, True])
def test_a_copy_that_comes_after_another_took_its_place_is_removed(
    lasts: bool, slow: Place, keys: Keys
) -> None:
    before = slow.meanings(keys.old)
    late = LateAppends(slow.mailbox, lasts=lasts)
    with suppress(ServerUnavailable):
        slow.run("encrypt", late)
    wanted = counts(slow.run("encrypt", Faults())) if lasts else {}
    late.deliver()
    assert slow.meanings(keys.new) != before
    told = slow.run("verify", Faults())
    assert told.failure_code == 3
    verified = counts(told)
    assert verified == wanted or not lasts
    assert State.NOT_IN_JOB not in verified
    assert counts(slow.run("encrypt", Faults())) == verified
    assert slow.meanings(keys.new) == before
    slow.run("encrypt", Faults())
    assert abandoned(slow) == 0
    assert slow.run("verify", Faults()).failure_code == 0
    slow.run("rollback", Faults())
    assert slow.meanings(keys.old) == before


@ON_THE_ACCOUNT
@pytest.mark.parametrize("folder", ["", "Moved"])
def test_a_copy_that_comes_while_its_message_waits_becomes_the_new_one(
    folder: str, slow: Place, keys: Keys
) -> None:
    before = slow.meanings(keys.old)
    late = LateAppends(slow.mailbox, lasts=True)
    with pytest.raises(ServerUnavailable):
        slow.run("encrypt", late)
    nothing = jobs.Selection(folder="Nothing")
    assert counts(slow.run("encrypt", Faults(), selection=nothing))[State.REENCRYPTED] == 1
    assert abandoned(slow) == 4
    late.deliver(folder)
    faults = Faults()
    assert counts(slow.run("encrypt", faults))[State.REENCRYPTED] == 5
    assert faults.calls["write"] == 0
    after = slow.meanings(keys.new)
    assert Counter(mail[1:] for mail in after.elements()) == Counter(
        mail[1:] for mail in before.elements()
    )
    assert (after == before) == (not folder)
    slow.run("encrypt", Faults())
    assert abandoned(slow) == 0


@ON_THE_ACCOUNT
def test_a_copy_that_the_owner_made_meanwhile_stays(slow: Place, keys: Keys) -> None:
    slow.run("encrypt", LateAppends(slow.mailbox, lasts=False))
    before = slow.meanings(keys.new)
    with closing(sqlite3.connect(slow.mailbox)) as rows, rows:
        rows.execute(
            "INSERT INTO message (folder, key, raw, flags, date, version)"
            " SELECT 'Kept', 'kept-' || key, raw, flags, date, version"
            " FROM message WHERE folder = 'INBOX'"
        )
        rows.execute("UPDATE message SET key = number WHERE folder = 'Kept'")
    slow.run("encrypt", Faults())
    assert slow.meanings(keys.new) - before
    assert not before - slow.meanings(keys.new)


@ON_THE_ACCOUNT
def test_a_late_copy_stays_where_the_other_is_gone(slow: Place, keys: Keys) -> None:
    before = slow.meanings(keys.old)
    late = LateAppends(slow.mailbox, lasts=False)
    slow.run("encrypt", late)
    with closing(sqlite3.connect(slow.mailbox)) as rows, rows:
        rows.execute("DELETE FROM message")
    late.deliver()
    slow.run("encrypt", Faults(), partial=True)
    kept = slow.meanings(keys.new)
    assert sum(kept.values()) == 4  # the one that was through before was deleted as well
    assert not kept - before
