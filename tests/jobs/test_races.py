"""Somebody else acts while messages are replaced: nothing lost, nothing doubled (F42-F45)."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import NotThisMailbox
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker, crash
from tests.support.mailboxes import CLEAR, Keys, Mail, encrypted, fill
from tests.support.specifications import Specify

MESSAGES = 24


DONE = {"encrypt": State.REENCRYPTED, "rewrap": State.REWRAPPED}


def counts(summary: Summary) -> dict[State, int]:
    assert sum(summary.counts.values()) == summary.messages
    return {state: count for state, count in summary.counts.items() if count}


def contents(maildir: Path, keys: Keys) -> Counter[tuple[str, ...]]:
    """What is inside the messages, wherever they lie and whatever their flags."""
    return Counter(
        checker.inner_digests(mail.raw, [keys.old, keys.new])
        for mail in checker.stored_mail(maildir)
    )


# --- between the new copy and the removal of the old ---------------------------------------


@pytest.fixture(params=["encrypt", "rewrap"])
def operation(request: pytest.FixtureRequest) -> str:
    """What replaces the messages."""
    return str(request.param)


@pytest.fixture
def with_two_copies(operation: str, specify: Specify, keys: Keys, tmp_path: Path) -> Path:
    """A mailbox of one message whose run was killed just before the old copy was removed."""
    mail = [Mail("", "cur/1300000001.M1P1.host:2,S", encrypted(1, keys.old))]
    maildir = tmp_path / "Maildir"
    fill(maildir, mail)
    if operation == "encrypt":
        jobs.run(specify("decrypt", maildir))
    crash.killed_at(specify(operation, maildir), "maildir.retire.before")
    assert len(list((maildir / "cur").iterdir())) == 2
    return maildir


def old_copy(maildir: Path) -> Path:
    return maildir / "cur" / "1300000001.M1P1.host:2,S"


def new_copy(maildir: Path) -> Path:
    return next(path for path in (maildir / "cur").iterdir() if path != old_copy(maildir))


def move_old(maildir: Path) -> None:
    old_copy(maildir).rename(maildir / ".Sent" / "cur" / old_copy(maildir).name)


def move_new(maildir: Path) -> None:
    new_copy(maildir).rename(maildir / ".Sent" / "cur" / new_copy(maildir).name)


def delete_old(maildir: Path) -> None:
    old_copy(maildir).unlink()


def delete_new(maildir: Path) -> None:
    new_copy(maildir).unlink()


def flag_old(maildir: Path) -> None:
    old_copy(maildir).rename(maildir / "cur" / "1300000001.M1P1.host:2,RS")


@pytest.mark.parametrize("act", [move_old, move_new, delete_old, delete_new, flag_old])
def test_what_the_user_does_to_one_of_two_copies_ends_with_one_message(
    with_two_copies: Path,
    operation: str,
    specify: Specify,
    keys: Keys,
    act: Callable[[Path], None],
) -> None:
    act(with_two_copies)
    summary = jobs.run(specify(operation, with_two_copies))
    assert counts(summary) == {DONE[operation]: 1}
    (mail,) = checker.stored_mail(with_two_copies)
    assert all(checker.inner_digests(mail.raw, [keys.new]))


def test_an_old_copy_marked_deleted_meanwhile_stays_and_is_not_encrypted(
    with_two_copies: Path, operation: str, specify: Specify
) -> None:
    old = old_copy(with_two_copies)
    marked = old.rename(f"{old}T")
    for _ in range(2):
        assert counts(jobs.run(specify(operation, with_two_copies))) == {State.CHANGED: 1}
        assert marked.exists()
        assert len(list((with_two_copies / "cur").iterdir())) == 2
    marked.unlink()  # a mail program expunges it
    assert counts(jobs.run(specify(operation, with_two_copies))) == {DONE[operation]: 1}


def test_a_mailbox_named_by_mistake_does_not_make_the_job_forget_a_second_copy(
    with_two_copies: Path, operation: str, specify: Specify, tmp_path: Path
) -> None:
    fill(tmp_path / "other", [Mail("", "cur/1.x:2,", CLEAR)])
    with pytest.raises(NotThisMailbox):
        jobs.run(specify(operation, tmp_path / "other"))
    assert counts(jobs.run(specify(operation, with_two_copies))) == {DONE[operation]: 1}
    assert len(list((with_two_copies / "cur").iterdir())) == 1


# --- all the time -----------------------------------------------------------------------------


class Racer(threading.Thread):
    """Flags, moves, delivers and deletes until it is stopped."""

    def __init__(self, maildir: Path, keys: Keys) -> None:
        super().__init__()
        self._maildir = maildir
        self._keys = keys
        self._random = random.Random(1)
        self._stopped = threading.Event()
        self.deleted: Counter[tuple[str, ...]] = Counter()

    def run(self) -> None:
        while not self._stopped.wait(0.002):
            folders = [self._maildir / "cur", self._maildir / ".Sent" / "cur"]
            path = self._random.choice([path for folder in folders for path in folder.iterdir()])
            act = self._random.choice([self._flag, self._flag, self._move, self._remove])
            try:
                act(path)
            except FileNotFoundError:
                continue  # the run was quicker

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def _flag(self, path: Path) -> None:
        base, _, flags = path.name.partition(":2,")
        other = flags.replace("R", "") if "R" in flags else f"R{flags}"
        path.rename(path.with_name(f"{base}:2,{other}"))

    def _move(self, path: Path) -> None:
        other = ".Sent/cur" if path.parent == self._maildir / "cur" else "cur"
        path.rename(self._maildir / other / path.name)

    def _remove(self, path: Path) -> None:
        if self.deleted.total() < MESSAGES // 4:
            raw = path.read_bytes()
            path.unlink()
            self.deleted[checker.inner_digests(raw, [self._keys.old, self._keys.new])] += 1


def test_a_mailbox_in_use_loses_nothing_but_what_the_user_deleted(
    operation: str, specify: Specify, keys: Keys, tmp_path: Path
) -> None:
    maildir = tmp_path / "Maildir"
    mail = [
        Mail("", f"cur/130000000{n:02}.M1P1.host:2,S", encrypted(n, keys.old))
        for n in range(MESSAGES)
    ]
    fill(maildir, mail)
    before = contents(maildir, keys)
    if operation == "encrypt":
        jobs.run(specify("decrypt", maildir))
    racer = Racer(maildir, keys)
    racer.start()
    try:
        counts(jobs.run(specify(operation, maildir)))
    finally:
        racer.stop()
    assert before - racer.deleted <= contents(maildir, keys)
    summary = jobs.run(specify(operation, maildir))
    assert before - racer.deleted <= contents(maildir, keys)
    assert set(counts(summary)) <= {DONE[operation], State.LOST}
    census = checker.census(maildir)
    assert counts(jobs.run(specify(operation, maildir))) == counts(summary)
    assert checker.census(maildir) == census
