"""A run is killed, and the mailbox moves to another kind of store: each message is there once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from sectool import jobs
from sectool.mailbox import Mailbox, Whereabouts
from sectool.mailbox.recognise import STORES
from sectool.message import Intent
from sectool.outcome import State
from tests.support import checker
from tests.support.failing import Failing
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.one_file_world import fill_one_file, rows
from tests.support.owner_trial import OwnerTrial

STORES_OF_JOBS = ("maildir", *checker.KINDS)
WAYS = [(one, other) for one in STORES_OF_JOBS for other in STORES_OF_JOBS if one != other]
SAMPLE = {("maildir", "imaplike"), ("maildir", "mboxlike"), ("imaplike", "maildir")}


ONE_COPY = {"emllike", "mboxlike"}
"""Where a new copy only ever takes the place of the old one."""


class Asked(Failing):
    """A store that notes what it is asked of earlier runs."""

    def __init__(self, store: Mailbox, wheres: list[str]) -> None:
        super().__init__(store, lambda *_: None)
        self._wheres = wheres

    def find(self, intents: Sequence[Intent]) -> list[Whereabouts]:
        self._wheres += [intent.where for intent in intents]
        return super().find(intents)

    def abandon(self, intents: Sequence[Intent]) -> None:
        self._wheres += [intent.where for intent in intents]
        super().abandon(intents)


def moved(mailbox: Path, kind: str, place: Path) -> Path:
    """What mail programs see of a mailbox, in a new one of this kind."""
    mail = [
        Mail(one.folder, f"cur/150000000{number}.M{number}P3.other:2,{one.flags}", one.raw)
        for number, one in enumerate(checker.stored_mail(mailbox))
    ]
    maildir = place / "moved"
    fill(maildir, mail)
    if kind == "maildir":
        return maildir
    fill_one_file(place / "store", kind, maildir)
    return place / "store"


def remove_old(trial: OwnerTrial, mailbox: Path) -> None:
    """Of messages with two copies the old one goes."""
    mail = list(checker.stored_mail(mailbox))
    twice = {one.folder for one in mail if trial.lies(one) == "new"}
    with rows(mailbox) as store:
        for one in mail:
            if one.folder in twice and trial.lies(one) != "new":
                place = (one.folder.removeprefix(".") or "INBOX", one.base_name)
                store.execute("DELETE FROM message WHERE folder = ? AND key = ?", place)


@pytest.mark.parametrize("operation", ["encrypt", "encrypt from clear"])
@pytest.mark.parametrize(
    ("source", "target"),
    [pytest.param(*way, marks=() if way in SAMPLE else pytest.mark.all_only) for way in WAYS],
)
def test_a_killed_run_ends_in_another_kind_of_store_with_each_message_once(
    tmp_path: Path,
    keys: Keys,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    target: str,
    operation: str,
    whole: bool,
) -> None:
    trial = OwnerTrial(tmp_path / "trial", source, operation, keys)
    wheres: list[str] = []
    wrong = {}
    store = STORES[target]
    points = trial.distinct()
    for point in points if whole else points[2 :: max(len(points) // 5, 1)]:
        place = tmp_path / f"at {point}"
        place.mkdir()
        trial.kill(point)
        mailbox = moved(trial.mailbox, target, place)
        spec = trial.run_of("encrypt", mailbox=f"{target}:{mailbox}")
        with monkeypatch.context() as patch:
            patch.setitem(STORES, target, lambda access: Asked(store(access), wheres))
            before = len(list(checker.stored_mail(mailbox)))
            summary = jobs.run(spec)
            if target in ONE_COPY and before > 2:
                # Nothing there removes one of two copies, so the owner has to.
                assert (summary.exit_code, len(list(checker.stored_mail(mailbox)))) == (3, before)
                remove_old(trial, mailbox)
                summary = jobs.run(spec)
        lying = sorted(trial.lies(mail) for mail in checker.stored_mail(mailbox))
        told = (summary.exit_code, lying, summary.counts[State.REENCRYPTED])
        if told != (0, ["new", "new"], 2):
            wrong[trial.passed[point - 1][0], point] = told
    assert wrong == {}
    assert set(wheres) == {""}
