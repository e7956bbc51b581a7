"""Another client acts in the middle of every step of a run that writes to a real server."""

from __future__ import annotations

import imaplib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from sectool import crashpoints, jobs
from sectool.errors import SectoolError
from sectool.mailbox.imap.connection import Connection
from tests.jobs.test_imap_replacing import Place, ServedTrial, serving
from tests.support.mailboxes import Keys, Mail, encrypted
from tests.support.specifications import Fields, Specify

SUBJECT = "message 1"
"""Of the message that is acted on; it lies in the inbox, and was seen."""
OF_ITS_OWN = re.compile("[Tt]ransaction log|No such file or directory")
"""What the server says where a folder is made anew, or goes, that somebody has open."""


@dataclass(frozen=True)
class Lies:
    """Where a copy lies in the end, and with which flags."""

    folder: str = ""
    flags: str = "S"


Act = Callable[["Client", str], object]


@pytest.fixture
def place(sample: list[Mail], specify: Specify) -> Iterator[Place]:
    with serving(sample, specify) as place:
        yield place
        assert [line for line in place.server.complaints() if not OF_ITS_OWN.search(line)] == []


class Client:
    """A mail program, for one act."""

    def __init__(self, connected: imaplib.IMAP4, fresh: bytes) -> None:
        self._client = connected
        self._fresh = fresh

    def _uids(self) -> list[str]:
        self._client.select("INBOX")
        found = self._client.uid("SEARCH", f'HEADER Subject "{SUBJECT}"')[1][0].split()
        return [uid.decode() for uid in found]

    def _which(self, which: str) -> str:
        uids = self._uids()
        return uids[0] if which == "old" else uids[-1]

    def moves(self, which: str) -> None:
        self._client.create("Elsewhere")
        self._client.uid("MOVE", self._which(which), "Elsewhere")

    def copies(self, which: str) -> None:
        self._client.create("Elsewhere")
        self._client.uid("COPY", self._which(which), "Elsewhere")

    def flags(self, which: str) -> None:
        self._client.uid("STORE", self._which(which), "+FLAGS", r"(\Flagged)")

    def clears(self, which: str) -> None:
        self._client.uid("STORE", self._which(which), "-FLAGS", r"(\Seen)")

    def marks(self, which: str) -> None:
        self._client.uid("STORE", self._which(which), "+FLAGS", r"(\Deleted)")

    def deletes(self, which: str) -> None:
        uid = self._which(which)
        self._client.uid("STORE", uid, "+FLAGS", r"(\Deleted)")
        self._client.uid("EXPUNGE", uid)

    def appends(self, _: str) -> None:
        text = self._fresh.replace(b"\n", b"\r\n")
        self._client.append("INBOX", r"(\Seen)", '"01-Jan-2001 10:00:00 +0200"', text)

    def renames(self, _: str) -> None:
        self._client.rename("Sent", "Posted")

    def makes_anew(self, _: str) -> None:
        """The folder of the person's own has other numbers for the same mail."""
        self._client.rename("Sent", "Before")
        self._client.create("Sent")
        self._client.select("Before")
        self._client.uid("COPY", "1:*", "Sent")
        self._client.unselect()
        self._client.delete("Before")

    def close(self) -> None:
        self._client.logout()


HERE, THERE = Lies(), Lies(".Elsewhere")
ENDS: dict[str, list[list[Lies]]] = {
    "moves": [[THERE]],
    "copies": [[HERE, THERE]],
    "flags": [[Lies(flags="FS")]],
    "clears": [[Lies(flags="")]],
    # A second copy stays where somebody marked one of two: nobody knows which one they want.
    "marks": [[Lies(flags="ST")], [HERE, Lies(flags="ST")]],
    "deletes": [[], [HERE]],
    "appends": [[HERE]],
    "renames": [[HERE]],
    "makes_anew": [[HERE]],
}
"""How the message may lie in the end, by act."""
MARKED = ("imap.mark.after", "imap.expunge.before")
"""Where the old copy has a mark of the run's: nobody can tell two marks on one copy apart."""
LOOKED = "imap.expunge.before"
"""Behind the last look: no server removes a message only if nobody changed it since."""
UNSEEN = {"flags": [HERE], "clears": [HERE], "marks": [HERE]}
"""What becomes of an act on the old copy that comes there."""
OF_BOTH = ("moves", "copies", "flags", "clears", "marks", "deletes")
CASES = [*itertools.product(OF_BOTH, ("old", "new"))] + [
    (act, "") for act in ("appends", "renames", "makes_anew")
]


@dataclass
class Judge:
    """Holds that nobody's act is undone, and that nothing is lost or doubled at rest."""

    place: Place
    keys: Keys

    def __post_init__(self) -> None:
        self.before = self._found()
        (self.target,) = {what for what, _ in self.before if SUBJECT in str(what)}

    def _found(self) -> Counter[tuple[object, Lies]]:
        """What lies there; the date of each is part of what it is."""
        return Counter(
            ((what, date), Lies(str(folder), str(flags)))
            for (folder, flags, date, _, what), count in self.place.meanings(
                self.keys.old, self.keys.new
            ).items()
            for _ in range(count)
        )

    def complaints(self, act: str, where: str) -> Iterator[str]:
        found = self._found()
        ends = [lies for what, lies in found.elements() if what == self.target]
        allowed = ENDS[act]
        if act == "marks" and any(point in where for point in MARKED):
            allowed = [*allowed, [HERE]]
        if act in {"moves", "copies"} and any(point in where for point in MARKED):
            allowed = [*allowed, [HERE, Lies(".Elsewhere", "ST")]]  # it took the mark along
        if LOOKED in where and act in UNSEEN:
            allowed = [*allowed, UNSEEN[act]]
        if sorted(ends, key=str) not in [sorted(one, key=str) for one in allowed]:
            yield f"it lies {ends}, and not {allowed}"
        others = Counter(
            (what, Lies(".Posted", lies.flags))
            if act == "renames" and lies.folder == ".Sent"
            else (what, lies)
            for what, lies in self.before.elements()
            if what != self.target
        )
        now = Counter({one: count for one, count in found.items() if one[0] != self.target})
        if lost := others - now:
            yield f"lost: {lost}"
        if (now - others).total() != (act == "appends"):
            yield f"more: {now - others}"


def run_on(specification: jobs.Specification, problems: list[str]) -> None:
    """A run that may end early, with an error of ours."""
    try:
        jobs.run(specification)
    except SectoolError as error:
        problems.append(str(error))


def met_by(
    place: Place, specification: jobs.Specification, number: int, act: Act, which: str, fresh: bytes
) -> str:
    """Runs with an act at the point of a number; answers for a person what happened."""
    names = itertools.count(1)
    at: list[str] = []

    def hook(name: str) -> None:
        if next(names) == number:
            at.append(name)
            client = Client(place.server.connect(), fresh)
            act(client, which)
            client.close()

    problems: list[str] = []
    crashpoints.install(hook)
    try:
        run_on(specification, problems)
    finally:
        crashpoints.install(None)
    return f"{act.__name__} {which} at {number} {at} {problems}"


def apart(specification: jobs.Specification, monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """The points of a run by number, from 1 on; one of those between which nothing is asked."""
    sent = itertools.count()
    last = 0
    send = Connection._send

    def counted(self: Connection, piece: bytes) -> None:
        nonlocal last
        last = next(sent)
        send(self, piece)

    points: list[tuple[int, str]] = []
    with monkeypatch.context() as patch:
        patch.setattr(Connection, "_send", counted)
        crashpoints.install(lambda name: points.append((last, name)))
        try:
            jobs.run(specification)
        finally:
            crashpoints.install(None)
    chosen: dict[int, str] = {}
    asked = -1
    for number, (count, name) in enumerate(points, 1):
        if count != asked:
            chosen[number] = name
            asked = count
    return chosen


@pytest.mark.parametrize("operation", ["encrypt", "rewrap"])
def test_whatever_another_client_does_in_the_middle_of_a_step_counts(
    place: Place, keys: Keys, whole: bool, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Takes 1 s for each case; the normal run has each act at one point of an act on the server."""
    if operation == "encrypt":
        jobs.run(place.run_of("decrypt"))
    options: Fields = {"or_reencrypt": True} if operation == "rewrap" else {}
    fresh = encrypted(9, keys.old)
    trial = ServedTrial(place, whole=True)
    judge = Judge(place, keys)
    spec = place.run_of(operation, **options)
    points = apart(spec, monkeypatch)
    if not whole:
        points = {number: name for number, name in points.items() if name.startswith("imap.")}
    cases = list(itertools.product(points, CASES))
    if not whole:
        cases = cases[operation == "rewrap" :: len(points) + 1]
    wrong: list[str] = []
    for number, (act, which) in cases:
        trial.put_back()
        where = met_by(place, spec, number, getattr(Client, act), which, fresh)
        problems: list[str] = []
        for _ in range(2):
            if operation == "encrypt":
                run_on(place.run_of("decrypt"), problems)
            run_on(spec, problems)
        wrong += [f"{where}: {problem}" for problem in (*problems, *judge.complaints(act, where))]
    assert wrong == [], f"{len(wrong)} of {len(cases)}"
    print(f"{operation}: {len(cases)} cases at {len(points)} points")  # noqa: T201
