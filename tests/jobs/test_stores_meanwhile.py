"""What the user and the server do to stores of all kinds while the engine replaces, or is dead."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Unpack

import pytest

from sectool import jobs
from sectool.crashpoints import install
from sectool.jobs.replacing import grouping
from sectool.message import Flags, MessageRef
from sectool.outcome import State
from tests.support import checker, crash
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.mbox_world import MboxWorld, fill_mbox
from tests.support.one_file import ImapLike
from tests.support.one_file_world import OneFileWorld, fill_one_file
from tests.support.specifications import Fields, Specify

ONES = 6
"""Messages of a small mailbox."""

PLACED = {"imaplike": "store.append.after", "mbox": "mbox.place.after"}
"""What is passed once a new copy is placed; of the other kinds ``store.place.after``."""


REWRITTEN = {"mboxlike": "store.rewrite.after", "mbox": "mbox.exchange.after"}
"""What is passed once a folder was written anew."""


class Place:
    """A mailbox of one kind, and a job beside it that decrypted it."""

    def __init__(self, directory: Path, kind: str, mail: list[Mail], specify: Specify) -> None:
        self.kind = kind
        self.directory = directory
        self.mailbox = directory / "mailbox"
        self._specify = specify
        fill(directory / "filled", mail)
        self.world: OneFileWorld | MboxWorld
        if kind == "mbox":
            self.world = fill_mbox(self.mailbox, directory / "filled")
        else:
            self.world = fill_one_file(self.mailbox, kind, directory / "filled")

    def run_of(self, operation: str, **changes: Unpack[Fields]) -> jobs.Specification:
        location = f"{self.kind}:{self.mailbox}"
        changes.setdefault("job", self.directory / "job")
        return self._specify(operation, location, **changes)

    def mail(self, *keys: checker.Key) -> Counter[object]:
        """What there is, wherever it lies and whatever its flags."""
        found: Counter[object] = Counter()
        for one in checker.stored_mail(self.mailbox):
            found[checker.meaning(replace(one, folder="", flags=""), keys)] += 1
        return found

    def headers(self) -> Counter[object]:
        """The headers of all messages, which needs no key."""
        raws = (one.raw for one in checker.stored_mail(self.mailbox))
        return Counter(map(checker.header_without_content_fields, raws))

    @property
    def placed(self) -> str:
        return PLACED.get(self.kind, "store.place.after")

    def passed(self, spec: jobs.Specification) -> Counter[str]:
        """How often the run passed each point of the store."""
        passed: Counter[str] = Counter()
        install(lambda name: passed.update([name]))
        jobs.run(spec)
        install(None)
        return passed


def small_mailbox(keys: Keys, ones: int) -> list[Mail]:
    return [
        Mail("", f"cur/1300000{number:03}.M1P1.host:2,S", encrypted(number, keys.old))
        for number in range(ones)
    ]


@pytest.fixture(params=["mbox", *checker.KINDS])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def ones(keys: Keys) -> list[Mail]:
    return small_mailbox(keys, ONES)


@pytest.fixture
def place(kind: str, ones: list[Mail], tmp_path: Path, specify: Specify) -> Place:
    made = Place(tmp_path, kind, ones, specify)
    assert jobs.run(made.run_of("decrypt")).counts[State.CHECKPOINTED] == ONES
    return made


@pytest.fixture
def no_hook_stays() -> Iterator[None]:
    yield
    install(None)


# --- two experiments -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "point"), [("imaplike", "store.append.after:42"), ("emllike", "store.rename.after:44")]
)
def test_after_a_crash_a_mailbox_of_sixty_messages_has_sixty(
    keys: Keys, tmp_path: Path, specify: Specify, kind: str, point: str
) -> None:
    place = Place(tmp_path, kind, small_mailbox(keys, 60), specify)
    before = place.headers()
    jobs.run(place.run_of("decrypt"))
    crash.killed_at(place.run_of("encrypt"), point)
    summary = jobs.run(place.run_of("decrypt"))
    assert (summary.messages, summary.is_finished) == (60, True)
    # A server is tried with one message first, which was through by then.
    through = summary.counts[State.REENCRYPTED]
    assert (through, summary.counts[State.CHECKPOINTED]) == (int(kind == "imaplike"), 60 - through)
    assert jobs.run(place.run_of("encrypt")).counts[State.REENCRYPTED] == 60
    assert place.headers() == before


# --- the user acts between two acts of the engine ---------------------------------------------


ACTS: dict[str, Callable[[OneFileWorld | MboxWorld, MessageRef], None]] = {
    "moved": lambda world, ref: world.move(ref, "Archive"),
    "flagged": lambda world, ref: world.set_flags(ref, Flags(frozenset({"flagged"}))),
    "marked as deleted": lambda world, ref: world.set_flags(ref, Flags(frozenset({"deleted"}))),
}


@pytest.mark.usefixtures("no_hook_stays")
@pytest.mark.parametrize("act", ACTS)
def test_what_the_user_does_to_a_message_whose_new_copy_waits_is_kept(
    place: Place, keys: Keys, act: str
) -> None:
    before = place.mail(keys.old)
    acted: list[str] = []

    def hook(name: str) -> None:
        if name == place.placed and not acted:
            acted.append(name)
            ACTS[act](place.world, refs(place)[0])

    install(hook)
    jobs.run(place.run_of("encrypt"))
    install(None)
    assert acted
    summary = jobs.run(place.run_of("encrypt"))
    assert summary.counts[State.REENCRYPTED] + summary.counts[State.CHANGED] == ONES
    found = place.mail(keys.old, keys.new)
    assert all(before[mail] <= found[mail] <= before[mail] + 1 for mail in before)
    if act != "marked as deleted":  # where two copies may stay, so that none is removed for it
        assert summary.counts[State.REENCRYPTED] == ONES
        assert place.mail(keys.new) == before
    assert checker.waiting(place.mailbox) == 0


# --- the user acts while the engine is dead ---------------------------------------------------


def refs(place: Place) -> list[MessageRef]:
    """All that mail programs see, in the order in which it came."""
    return [
        MessageRef(mail.folder.removeprefix(".") or "INBOX", mail.base_name)
        for mail in checker.stored_mail(place.mailbox)
    ]


def kill(place: Place, point: str) -> None:
    """Kills ``encrypt`` once a first copy is placed, or a first old one retired."""
    retired = {**REWRITTEN, "emllike": "store.rename.after"}
    name = place.placed if point == "placed" else retired.get(place.kind, "store.retire.after")
    crash.killed_at(place.run_of("encrypt"), name)


@pytest.mark.parametrize("point", ["placed", "retired"])
def test_whatever_is_run_after_a_crash_knows_what_is_there(
    place: Place, keys: Keys, point: str
) -> None:
    before = place.mail(keys.old)
    kill(place, point)
    census = checker.census(place.mailbox)
    for operation in ("verify", "decrypt", "verify"):
        summary = jobs.run(place.run_of(operation))
        assert (summary.messages, sum(summary.counts.values())) == (ONES, ONES)
        assert checker.census(place.mailbox) == census
    jobs.run(place.run_of("rollback"))
    assert place.mail(keys.old) == before
    assert checker.waiting(place.mailbox) == 0


@pytest.mark.parametrize(
    ("point", "which"),
    [
        ("placed", "old"),
        ("placed", "new"),
        ("retired", "all"),
        *(
            pytest.param(*case, marks=pytest.mark.all_only)
            for case in (("placed", "all"), ("retired", "old"), ("retired", "new"))
        ),
    ],
)
def test_copies_that_the_user_moved_after_a_crash_are_known_again(
    place: Place, keys: Keys, point: str, which: str
) -> None:
    before = place.mail(keys.old)
    came = set(refs(place))
    kill(place, point)
    for ref in refs(place):
        if which == "all" or (ref in came) == (which == "old"):
            place.world.move(ref, "Archive")
    summary = jobs.run(place.run_of("encrypt"))
    assert (summary.counts[State.REENCRYPTED], summary.messages) == (ONES, ONES)
    assert place.mail(keys.new) == before
    assert checker.waiting(place.mailbox) == 0


def test_an_old_copy_that_was_edited_after_a_crash_is_not_removed(place: Place) -> None:
    kill(place, "placed")
    first = refs(place)[0]
    (old,) = (one for one in checker.stored_mail(place.mailbox) if one.base_name == first.key)
    place.world.remove(first)
    place.world.deliver("Archive", b"X-Note: mine\n" + old.raw)
    for _ in range(2):
        jobs.run(place.run_of("encrypt"))
        noted = [one for one in place.world.seen() if one.raw.startswith(b"X-Note: mine\n")]
        assert len(noted) == 1


def test_a_copy_that_a_person_made_of_a_new_copy_stays_after_a_crash(
    place: Place, keys: Keys
) -> None:
    before = place.mail(keys.old)
    crash.killed_at(place.run_of("encrypt"), place.placed)
    for one in place.world.seen():
        place.world.deliver("INBOX", one.raw, flags=one.flags, date=one.date)
    there = len(refs(place))
    summary = jobs.run(place.run_of("encrypt"))
    assert summary.counts[State.REENCRYPTED] >= ONES
    found = place.mail(keys.new)
    assert all(2 * before[mail] <= found[mail] for mail in before)
    assert len(refs(place)) == there - (there > 2 * ONES)


# --- a folder that is written anew as a whole -------------------------------------------------


@pytest.mark.parametrize("kind", REWRITTEN)
def test_each_folder_is_written_anew_once_and_what_is_finished_survives_a_kill(
    place: Place, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = place.mail(keys.old)
    monkeypatch.setattr(grouping, "GROUP_MESSAGES", 2)
    for ref in refs(place)[1::3]:
        place.world.move(ref, "Archive")
    crash.killed_at(place.run_of("encrypt"), f"{place.placed}:4")
    assert checker.waiting(place.mailbox) == 4
    passed = place.passed(place.run_of("encrypt"))
    assert passed[place.placed] == ONES - 4
    assert passed[REWRITTEN[place.kind]] == 3  # both folders for what waited, one for the rest
    assert place.mail(keys.new) == before


@pytest.mark.parametrize("kind", REWRITTEN)
def test_many_groups_of_two_folders_cost_two_rewrites(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grouping, "GROUP_MESSAGES", 1)
    for ref in refs(place)[1::3]:
        place.world.move(ref, "Archive")
    assert place.passed(place.run_of("encrypt"))[REWRITTEN[place.kind]] == 2
    assert place.passed(place.run_of("rollback"))[REWRITTEN[place.kind]] == 2


# --- a server that makes something else of what it is given -------------------------------------


@pytest.mark.parametrize("kind", ["imaplike"])
def test_what_a_server_makes_something_else_of_is_taken_back(
    place: Place, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = place.mail(keys.old)
    was = ImapLike.rewritten
    with monkeypatch.context() as patch:
        patch.setattr(ImapLike, "rewritten", lambda self, raw: was(self, raw)[:-400])
        for _ in range(2):
            summary = jobs.run(place.run_of("encrypt", max_failures=100))
            assert summary.counts[State.FAILED] == ONES
            assert place.mail(keys.old) == before
    assert jobs.run(place.run_of("encrypt")).counts[State.REENCRYPTED] == ONES
    assert place.mail(keys.new) == before


# --- workers ------------------------------------------------------------------------------------


def test_workers_open_the_store_as_well(place: Place, keys: Keys) -> None:
    before = place.mail(keys.old)
    crash.killed_at(place.run_of("encrypt"), place.placed)
    summary = jobs.run(place.run_of("encrypt", workers=1))
    assert summary.counts[State.REENCRYPTED] == ONES
    assert place.mail(keys.new) == before


# --- all of it at random --------------------------------------------------------------------------


class Chance:
    """Kills runs at random points, and does between them what a user may do.

    A copy that a user makes of the old one is not told from the old one that was moved, and may
    go as that one does; so of what was copied as many stay as there were at least.
    """

    def __init__(self, place: Place, seed: int, keys: Keys) -> None:
        self._place = place
        self._random = random.Random(seed)
        self._least = place.mail(keys.old, keys.new)
        self._most = self._least.copy()
        self._keys = (keys.old, keys.new)
        self._header = {
            checker.header_without_content_fields(mail.raw): checker.meaning(
                replace(mail, folder="", flags=""), self._keys
            )
            for mail in checker.stored_mail(place.mailbox)
        }

    def kill(self, operation: str) -> None:
        spec = self._place.run_of(operation)
        crash.in_child(lambda: jobs.run(spec), f"crash@{self._random.randint(1, 150)}")
        found = self._place.mail(*self._keys)
        assert found >= self._least

    def act(self) -> None:
        for ref in self._random.sample(refs(self._place), 3):
            act = self._random.choice(["moved", "flagged", "copied"])
            if act != "copied":
                ACTS[act](self._place.world, ref)
                continue
            (mail,) = (
                mail
                for mail in checker.stored_mail(self._place.mailbox)
                if (mail.folder.removeprefix(".") or "INBOX", mail.base_name)
                == (ref.folder, ref.key)
            )
            date = datetime.fromisoformat(mail.date)
            self._place.world.deliver("Copies", mail.raw, flags=Flags(), date=date)
            self._most[self._header[checker.header_without_content_fields(mail.raw)]] += 1

    def hold_end(self, key: checker.Key) -> None:
        assert self._least <= self._place.mail(key) <= self._most
        assert checker.waiting(self._place.mailbox) == 0


@pytest.mark.all_only
@pytest.mark.parametrize("seed", range(20))
def test_kills_and_acts_at_random_lose_nothing_and_double_nothing(
    place: Place, keys: Keys, seed: int
) -> None:
    chance = Chance(place, seed, keys)
    for operation in random.Random(seed).choices(["encrypt", "encrypt", "decrypt", "verify"], k=4):
        chance.kill(operation)
        chance.act()
    for _ in range(2):
        jobs.run(place.run_of("encrypt", partial=True))
    chance.hold_end(keys.new)
