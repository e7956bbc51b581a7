"""A message is moved during a walk, between every pair of folders: it stays one message (G10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path

import pytest

from sectool import jobs
from sectool.mailbox import open_mailbox, recognise
from sectool.mailbox.recognise import STORES
from sectool.outcome import State
from sectool.progress import NoProgress
from tests.support import checker, crash
from tests.support.failing import Failing, Moment
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.owner import ARCHIVE, Wanted
from tests.support.owner_trial import OPERATIONS, WORK, OwnerTrial
from tests.support.specifications import Specify

FOLDERS = ("INBOX", ARCHIVE, WORK)
"""In the order in which they are listed."""

RENAMED = "Renamed"
"""What the folder is called in the end whose name its owner changes."""


class Meanwhile:
    """Acts once, at the N-th call of one kind that a store answers."""

    def __init__(self, call: str, number: int, act: Callable[[], object]) -> None:
        self._call = call
        self._left = number
        self._act = act

    def __call__(self, name: str, moment: Moment) -> None:
        if name == self._call and moment is Moment.BEFORE:
            self._left -= 1
            if self._left == 0:
                self._act()

    @property
    def has_acted(self) -> bool:
        return self._left <= 0


def watched(monkeypatch: pytest.MonkeyPatch, kind: str, meanwhile: Meanwhile) -> None:
    store = STORES[kind]
    monkeypatch.setitem(STORES, kind, lambda access: Failing(store(access), meanwhile))


Way = tuple[str, str]


def moved_at(trial: OwnerTrial, monkeypatch: pytest.MonkeyPatch, way: Way, at: int) -> str:
    """What is wrong where it is moved before the N-th listing; ``-`` where there is none."""
    source, target = way
    trial.put_back()
    owner = trial.owner()
    if trial.kind == "maildir":
        for part in ("cur", "new", "tmp"):
            (trial.mailbox / f".{ARCHIVE}" / part).mkdir(parents=True, exist_ok=True)
    if source != WORK:
        owner.move(owner.copies()[0], source)
        if trial.operation.before:
            jobs.run(trial.run_of("verify"))

    def act() -> None:
        if target == RENAMED:
            owner.rename_folder(source, target)
        else:
            owner.move(owner.copies()[0], target)

    meanwhile = Meanwhile("walk", at, act)
    with monkeypatch.context() as patch:
        watched(patch, trial.kind, meanwhile)
        first = jobs.run(trial.spec)
    if not meanwhile.has_acted:
        return "-"
    problems = trial.end(owner, Wanted({target}, {"S"}))
    if sum(first.counts.values()) != 2 or first.counts[State.LOST]:
        problems += f"; the first run counts {first.counts}"
    if trial.operation.name == "decrypt" and not problems:
        summary = jobs.run(trial.run_of("encrypt"))
        if summary.exit_code or summary.counts[State.REENCRYPTED] != 2:
            problems = f"encrypted: {summary.counts}"
    return problems


def ways(*, whole: bool) -> Iterator[tuple[Way, int]]:
    """Each pair of folders, and the listing before which the message goes from one to the other."""
    pairs = [*permutations(FOLDERS, 2), (WORK, RENAMED)]
    for number, pair in enumerate(pairs):
        for at in range(1, 40):
            if whole or at == 2 + 4 * (number % 2) + number % 3:
                yield pair, at


def hold(trial: OwnerTrial, monkeypatch: pytest.MonkeyPatch, *, whole: bool) -> None:
    wrong = {}
    tried = 0
    for way, at in ways(whole=whole):
        problem = moved_at(trial, monkeypatch, way, at)
        tried += problem != "-"
        if problem not in {"", "-"}:
            wrong[way, at] = problem
    assert wrong == {}
    assert tried >= 5


@pytest.mark.parametrize("operation", ["decrypt", "encrypt"])
def test_a_message_that_is_moved_while_folders_are_listed_is_one_message(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    hold(OwnerTrial(tmp_path / "trial", "maildir", operation, keys), monkeypatch, whole=False)


@pytest.mark.all_only
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("kind", ["maildir", *checker.KINDS])
def test_whatever_is_moved_at_any_listing_of_any_operation_is_one_message(
    tmp_path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, kind: str, operation: str
) -> None:
    hold(OwnerTrial(tmp_path / "trial", kind, operation, keys), monkeypatch, whole=True)


# --- a scan beside a run ------------------------------------------------------------------------


class Told(NoProgress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, *, hint: str = "") -> None:
        del hint
        self.warnings.append(text)


MESSAGES = 12


@pytest.fixture
def decrypted(tmp_path: Path, keys: Keys, specify: Specify) -> Path:
    maildir = tmp_path / "Maildir"
    raw = encrypted(1, keys.old)
    fill(
        maildir,
        [
            Mail("", f"cur/13000000{n:02}.M1P1.host:2,S", raw.replace(b"<1@", b"<%d@" % n))
            for n in range(MESSAGES)
        ],
    )
    jobs.run(specify("decrypt", maildir))
    return maildir


@pytest.mark.parametrize("fault", ["", "crash@maildir.retire.before:5"])
def test_a_scan_beside_a_run_counts_each_message_once_and_says_that_one_is_on(
    decrypted: Path, specify: Specify, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    spec = specify("encrypt", decrypted)
    held = open_mailbox(recognise(str(decrypted))).lock()

    def replace_all() -> None:
        crash.in_child(lambda: jobs.run(spec), fault)
        held.__enter__()

    told = Told()
    with monkeypatch.context() as patch:
        watched(patch, "maildir", Meanwhile("fetch", 4, replace_all))
        summary = jobs.run(specify("scan", decrypted, keys=None), told)
    held.__exit__(None, None, None)
    assert (summary.messages, sum(summary.counts.values())) == (MESSAGES, MESSAGES)
    assert any("another run is at work" in warning for warning in told.warnings)


def test_a_scan_of_a_mailbox_at_rest_says_of_no_run(decrypted: Path, specify: Specify) -> None:
    told = Told()
    assert jobs.run(specify("scan", decrypted, keys=None), told).messages == MESSAGES
    assert told.warnings == []
