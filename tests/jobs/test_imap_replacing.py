"""The operations that write, on a real server, judged by what lies in the Maildir that it keeps."""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import pytest

from sectool import crashpoints, jobs
from sectool.mailbox import retrying
from sectool.outcome import State
from tests.jobs.test_stores import MARK, OPERATIONS, Meanings, counts
from tests.support import checker, crash
from tests.support.dovecot import OWNER, Dovecot, passable_directory, running_dovecot
from tests.support.imap_world import ON_LOOPBACK, url_of
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.rewriting_proxy import rewriting
from tests.support.specifications import Fields, Specify

SECOND = 1_000_000_000


class Place:
    """A directory with the mail that a server keeps, where the job will be too."""

    def __init__(self, server: Dovecot, directory: Path, specify: Specify) -> None:
        self.server = server
        self.directory = directory
        self.mailbox = server.maildir
        self._specify = specify

    def own(self) -> None:
        mail = self.directory / "mail"
        for path in (mail, *mail.rglob("*")):
            os.chown(path, OWNER, OWNER)

    def run_of(self, operation: str, **changes: Unpack[Fields]) -> jobs.Specification:
        changes.setdefault("job", self.directory / "job")
        specification = self._specify(operation, url_of(self.server), **changes)
        return replace(specification, account=ON_LOOPBACK)

    def meanings(self, *keys: checker.Key) -> Meanings:
        """What the checker finds; dates of a server are whole seconds, and modes its own."""
        return Counter(
            checker.meaning(
                replace(
                    mail,
                    raw=MARK.sub(b"", mail.raw),
                    mtime_ns=mail.mtime_ns // SECOND * SECOND,
                    mode=0,
                ),
                keys,
            )
            for mail in checker.stored_mail(self.mailbox)
        )


@contextlib.contextmanager
def serving(sample: list[Mail], specify: Specify) -> Iterator[Place]:
    """A place with the sample, beneath a server."""
    with passable_directory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECTOOL_IMAP_PASSWORD", "secret")
        directory = home / "trial"
        # This server takes a size in a name for true.
        mail = [replace(one, name=one.name.replace(",S=900", "")) for one in sample]
        fill(directory / "mail" / "alice" / "Maildir", mail)
        with running_dovecot(directory / "mail", keeps_own_apart=False) as server:
            place = Place(server, directory, specify)
            place.own()
            yield place


@pytest.fixture
def place(sample: list[Mail], specify: Specify) -> Iterator[Place]:
    with serving(sample, specify) as place:
        yield place
        place.server.wait_until_idle()
        assert place.server.complaints() == []


def test_a_whole_job_comes_to_its_end_and_back(place: Place, keys: Keys) -> None:
    before = place.meanings(keys.old)
    assert jobs.run(place.run_of("decrypt")).counts[State.CHECKPOINTED] == 5
    assert jobs.run(place.run_of("encrypt")).counts[State.REENCRYPTED] == 5
    assert place.meanings(keys.new) == before
    assert jobs.run(place.run_of("verify")).counts[State.REENCRYPTED] == 5
    assert jobs.run(place.run_of("rollback")).counts[State.ROLLED_BACK] == 5
    assert place.meanings(keys.old) == before


# --- killed at every point: budget of all of them, 200 seconds --------------------------


class ServedTrial(crash.Trial):
    """Puts the mail back beneath a server that keeps nothing of its own elsewhere."""

    def __init__(self, place: Place, *, whole: bool) -> None:
        self._place = place
        place.server.wait_until_idle()  # else a lock of the server's is moved away with the mail
        super().__init__(place.directory, whole=whole)

    def put_back(self) -> None:
        self._place.server.wait_until_idle()
        super().put_back()
        self._place.own()


def of_the_server(names: list[str]) -> list[int]:
    """The sample: before and after one of each act on the server, and the commits around them."""
    passings: dict[str, list[int]] = {}
    for number, name in enumerate(names, start=1):
        if name.startswith("imap."):
            passings.setdefault(name, []).append(number)
            if name.endswith(".after") and number < len(names):
                passings.setdefault(f"next of {name}", []).append(number + 1)
    return sorted({numbers[(len(numbers) - 1) // 2] for numbers in passings.values()})


def hold_at_the_kill(found: Meanings, before: Meanings, where: str) -> None:
    """Nothing is lost, and nothing is there more than twice."""
    for mail, copies in before.items():
        marked = found[(mail[0], "".join(sorted(f"{mail[1]}T")), *mail[2:])]
        assert copies <= found[mail] + marked <= 2 * copies, where


@pytest.mark.long
@pytest.mark.parametrize("operation", OPERATIONS)
def test_replacing_killed_at_every_point_loses_nothing_and_resumes_to_the_same_end(
    place: Place, keys: Keys, whole: bool, operation: str
) -> None:
    first, options, state = OPERATIONS[operation]
    for one in first:
        jobs.run(place.run_of(one))
    trial = ServedTrial(place, whole=whole)
    before = place.meanings(keys.old, keys.new)
    spec = place.run_of("decrypt" if operation == "in place" else operation, **options)
    wanted = counts(jobs.run(spec))
    assert wanted[state] + (wanted[State.REWRAPPED] if operation == "rewrap" else 0) == 5
    after = place.meanings(keys.old, keys.new)
    for where in trial.kills(spec, None if whole else of_the_server):
        if operation != "in place":  # a plaintext does not mean the same to the checker
            hold_at_the_kill(place.meanings(keys.old, keys.new), before, where)
        assert counts(jobs.run(spec)) == wanted, where
        assert place.meanings(keys.old, keys.new) == after, where
        if trial.is_run_once_more():
            place.server.wait_until_idle()
            mail = names_of(place.mailbox)
            assert counts(jobs.run(spec)) == wanted, where
            assert names_of(place.mailbox) == mail, where


def names_of(maildir: Path) -> set[str]:
    """What a second run must not change: names of files say flags, and are never given twice."""
    return {str(path.relative_to(maildir)) for path in maildir.glob("**/cur/*")} | {
        str(path.relative_to(maildir)) for path in maildir.glob("**/new/*")
    }


# --- what is lost on the way, and what others do meanwhile --------------------------------


def contents(place: Place, keys: Keys) -> Counter[object]:
    """What mail there is, whatever its folder and flags."""
    found: Counter[object] = Counter()
    for meaning, count in place.meanings(keys.old, keys.new).items():
        found[meaning[-1]] += count
    return found


@pytest.mark.parametrize("command", [rb"APPEND", rb"UID STORE", rb"UID EXPUNGE"])
def test_a_run_whose_answer_was_lost_goes_on_by_itself(
    command: bytes, place: Place, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "WAITS", (0.1,) * 5)
    jobs.run(place.run_of("decrypt"))
    before = place.meanings(keys.old)
    with rewriting(place.server.port) as proxy:
        proxy.loses += [command, command]
        spec = place.run_of("encrypt")
        url = f"imap://alice@127.0.0.1:{proxy.port}/"
        assert jobs.run(replace(spec, mailbox=url)).counts[State.REENCRYPTED] == 5
        assert proxy.loses == []
    assert place.meanings(keys.new) == before


def test_a_run_that_was_killed_goes_on_where_all_mail_has_other_numbers(
    place: Place, keys: Keys
) -> None:
    jobs.run(place.run_of("decrypt"))
    before = place.meanings(keys.old)
    spec = place.run_of("encrypt")
    points = ("imap.append.after:2", "imap.mark.before", "imap.expunge.after:2")
    for validity, point in enumerate(points, start=time.time_ns() // 10**9 + 1000):
        crash.killed_at(spec, point)
        place.server.wait_until_idle()
        for path in place.mailbox.rglob("dovecot*"):
            path.unlink()
        for uidlist in place.mailbox.rglob("cur"):
            (uidlist.parent / "dovecot-uidlist").write_text(f"3 V{validity} N100\n")
        place.own()
    assert jobs.run(spec).counts[State.REENCRYPTED] == 5
    assert place.meanings(keys.new) == before


ACTS = ("moves", "deletes", "flags", "copies")


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(
    "point", ["imap.append.before", "imap.append.after", "imap.mark.before", "imap.expunge.after"]
)
def test_what_another_client_does_meanwhile_is_neither_undone_nor_doubled(
    act: str, point: str, place: Place, keys: Keys
) -> None:
    jobs.run(place.run_of("decrypt"))
    before = contents(place, keys)
    passed = []

    def hook(name: str) -> None:
        passed.append(name)
        if passed.count(point) != 2:
            return
        crashpoints.install(None)
        client = place.server.connect()
        client.create("Elsewhere")
        client.select("INBOX")
        uid = client.uid("SEARCH", 'HEADER Subject "message 3"')[1][0].split()[0].decode()
        if act in {"moves", "copies"}:
            client.uid("MOVE" if act == "moves" else "COPY", uid, "Elsewhere")
        else:
            client.uid("STORE", uid, "+FLAGS", r"(\Deleted)" if act == "deletes" else r"(\Flagged)")
            if act == "deletes":
                client.uid("EXPUNGE", uid)
        client.logout()

    spec = place.run_of("encrypt")
    crashpoints.install(hook)
    try:
        jobs.run(spec)
    finally:
        crashpoints.install(None)
    # What was copied or moved is met by the walks that follow, as any mail is.
    for _ in range(2):
        jobs.run(place.run_of("decrypt"))
        jobs.run(spec)
    after = contents(place, keys)
    (third,) = [what for what in before if "message 3" in str(what)]
    there = {"moves": 1, "flags": 1, "copies": 2}.get(act)
    if there is None:
        # Whichever of the two it was: no more than one is left, and all else is there.
        assert after[third] <= 1
        there = after[third]
    assert after == before + Counter({third: 1}) - Counter({third: 2 - there})
    if act == "flags":
        flags = [m[1] for m in place.meanings(keys.old, keys.new) if m[-1] == third]
        assert flags == ["F"]
