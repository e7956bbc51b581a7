"""A real Dovecot behind a proxy that cuts, stalls and swallows: a job comes to the same end."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import ServerUnavailable
from sectool.keys import KeySpecification
from sectool.mailbox import Account, retrying
from sectool.mailbox.imap import connection
from sectool.message import Flags, MessageRef
from sectool.outcome import State
from sectool.summary import Summary
from tests.support.dovecot import Dovecot, running_dovecot
from tests.support.imap_world import IMAPWorld, opened
from tests.support.mailboxes import Keys, Mail
from tests.support.proxy import Act, Fault, Proxy, Way

FOLDERS = {"": "INBOX", ".Sent": "Sent"}
PEOPLE = ["alice", *(f"user{number}" for number in range(10))]
USERS = itertools.cycle(PEOPLE[1:])
MANY = "mail_max_userip_connections = 100\n"
GOODBYE = {Way.TO_SERVER: 20, Way.TO_CLIENT: 300}
"""Bytes at the end of a connection that a run does without, with all that differs in length."""
FETCH = rb"UID FETCH [^\r\n]*BODY\.PEEK[^\r\n]*\r\n"


@pytest.fixture(scope="module")
def server(sample: list[Mail]) -> Iterator[Dovecot]:
    with running_dovecot(users=PEOPLE, settings=MANY) as running:
        world = IMAPWorld(running, "alice")
        for mail in sample:
            world.deliver(FOLDERS[mail.folder], mail.raw)
        world.close()
        yield running
        assert running.complaints() == []


@pytest.fixture
def proxy(server: Dovecot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Proxy]:
    monkeypatch.setattr(retrying, "WAITS", (0.0,) * 3)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("SECTOOL_IMAP_PASSWORD", "secret")
    with Proxy(server.port).running() as running:
        yield running


def scanned(proxy: Proxy, keys: Keys, connections: int = 1) -> dict[State, int]:
    return counts(
        jobs.Scan(
            mailbox=f"imap://alice@127.0.0.1:{proxy.port}/",
            account=Account(insecure=True, connections=connections),
            keys=KeySpecification((keys.history,)),
            workers=0,
        )
    )


def decrypted(
    proxy: Proxy, keys: Keys, job: Path, connections: int = 1, user: str = "alice"
) -> dict[State, int]:
    return counts(
        jobs.Decrypt(
            mailbox=f"imap://{user}@127.0.0.1:{proxy.port}/",
            account=Account(insecure=True, connections=connections),
            keys=KeySpecification((keys.history,)),
            job=job,
            workers=0,
        )
    )


def counts(spec: jobs.Run[Summary]) -> dict[State, int]:
    return dict(jobs.run(spec).counts)


def left(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.rglob("mail-*")]


@pytest.mark.parametrize("way", Way)
def test_a_scan_that_is_cut_at_any_byte_goes_on_by_itself(
    way: Way, proxy: Proxy, keys: Keys, tmp_path: Path, whole: bool
) -> None:
    """Takes 0.2 s for each place; the normal run tries some 25 of them in each way."""
    expected = scanned(proxy, keys)
    length = proxy.passed[way] - GOODBYE[way]
    for number, place in enumerate(range(0, length, 1 if whole else length // 25)):
        act = Act.RESET if number % 3 == 2 else Act.CUT
        fault = Fault(act, way, place, connection=proxy.connections + 1)
        proxy.faults[:] = [fault]
        assert scanned(proxy, keys) == expected
        assert fault.met == 1
    assert left(tmp_path) == []


@pytest.mark.parametrize("way", Way)
def test_a_run_that_is_cut_for_good_ends_and_the_next_one_comes_to_the_same_end(
    way: Way, proxy: Proxy, keys: Keys, tmp_path: Path, whole: bool
) -> None:
    """Takes 0.5 s for each place; the normal run tries some ten of them in each way."""
    expected = decrypted(proxy, keys, tmp_path / "expected")
    assert expected[State.CHECKPOINTED] == 5
    length = proxy.passed[way] - GOODBYE[way]
    for place in range(0, length, 1 if whole else length // 10):
        job = tmp_path / f"job{place}"
        first, *further = range(proxy.connections + 1, proxy.connections + 9)
        proxy.faults[:] = [Fault(Act.CUT, way, place, connection=first)]
        proxy.faults += [Fault(Act.CUT, connection=number) for number in further]
        with pytest.raises(ServerUnavailable) as lost:
            decrypted(proxy, keys, job)
        assert lost.value.exit_code == 18
        proxy.faults.clear()
        assert decrypted(proxy, keys, job) == expected
        assert decrypted(proxy, keys, job) == expected
    assert left(tmp_path) == []


SILENT = [
    Fault(Act.STALL, after=0),
    Fault(Act.STALL, after=150),
    Fault(Act.STALL, after=1000, behind=FETCH, seen=Way.TO_SERVER),
    Fault(Act.STALL, Way.TO_SERVER, 40),
    Fault(Act.SWALLOW, Way.TO_SERVER, after=0),
    Fault(Act.SWALLOW, after=3, behind=FETCH, seen=Way.TO_SERVER),
]


@pytest.mark.parametrize("fault", SILENT, ids=lambda fault: f"{fault.act.value} {fault.after}")
@pytest.mark.parametrize("connections", [1, 2])
def test_a_server_that_says_nothing_any_more_is_left_and_the_run_says_so(
    fault: Fault,
    connections: int,
    proxy: Proxy,
    keys: Keys,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = scanned(proxy, keys)
    # Not in the other tests: on a busy machine a server that is at hand is silent for a moment,
    # the run connects once more, and what passed is more than what one connection takes.
    monkeypatch.setattr(connection, "STEP", 0.05)
    monkeypatch.setattr(connection, "SILENCE", 1.0)
    once, always = (
        Fault(fault.act, fault.way, fault.after, fault.behind, fault.seen, times=times)
        for times in (1, 100)
    )
    proxy.faults[:] = [once]
    assert scanned(proxy, keys, connections) == expected
    monkeypatch.setattr(connection, "SILENCE", 0.2)
    proxy.faults[:] = [always]
    began = time.monotonic()
    with pytest.raises(ServerUnavailable, match="says nothing any more") as lost:
        scanned(proxy, keys, connections)
    assert lost.value.exit_code == 18
    assert time.monotonic() - began < 20
    assert left(tmp_path) == []


@pytest.mark.parametrize("connections", [1, 2, 4])
def test_a_server_that_sends_a_little_on_each_connection_is_read_to_the_end(
    connections: int, proxy: Proxy, keys: Keys, tmp_path: Path
) -> None:
    expected = scanned(proxy, keys)
    proxy.faults[:] = [
        Fault(Act.CUT, after=3000, behind=FETCH, seen=Way.TO_SERVER, times=4),
        Fault(Act.RESET, after=9000, behind=FETCH, seen=Way.TO_SERVER, times=2),
    ]
    assert scanned(proxy, keys, connections) == expected
    assert proxy.faults[0].met > 0
    assert left(tmp_path) == []


# --- somebody else is at work ------------------------------------------------------------------


@pytest.fixture
def account(server: Dovecot, sample: list[Mail]) -> Iterator[IMAPWorld]:
    """Of a user that no other test has."""
    world = IMAPWorld(server, next(USERS))
    for mail in sample:
        world.deliver(FOLDERS[mail.folder], mail.raw)
    yield world
    world.close()


def in_the_middle(act: Callable[[], object], *, cut: bool = False) -> list[Fault]:
    """It is done while messages are on their way, and then the connection ends or goes on."""
    faults = [Fault(act, after=1000, behind=FETCH, seen=Way.TO_SERVER)]
    return faults + ([Fault(Act.CUT, after=1000, behind=FETCH, seen=Way.TO_SERVER)] * cut)


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("connections", [1, 2])
def test_another_client_removes_moves_and_marks_mail_that_is_being_fetched(
    connections: int, cut: bool, proxy: Proxy, keys: Keys, account: IMAPWorld, tmp_path: Path
) -> None:
    expected = decrypted(proxy, keys, tmp_path / "expected", user=account.user)
    refs = list_of(account)
    after: list[list[bytes]] = []

    def act() -> None:
        account.remove(refs[0])
        account.move(refs[1], "Elsewhere")
        account.set_flags(refs[2], Flags(frozenset({"flagged"})))
        account.deliver("INBOX", b"Subject: new\n\nnew\n")
        after.append(account.state())

    proxy.faults[:] = in_the_middle(act, cut=cut)
    found = decrypted(proxy, keys, tmp_path / "job", connections, user=account.user)
    assert len(after) == 1
    assert State.FAILED not in found
    assert account.state() == after[0]
    # What was on its way then is met by the next run, wherever it is now.
    again = decrypted(proxy, keys, tmp_path / "job", connections, user=account.user)
    assert decrypted(proxy, keys, tmp_path / "job", connections, user=account.user) == again
    assert sum(again.values()) in {sum(expected.values()), sum(expected.values()) + 1}
    assert State.FAILED not in again
    assert account.state() == after[0]
    assert left(tmp_path) == []


@pytest.mark.parametrize("connections", [1, 2])
def test_a_folder_that_is_made_anew_between_two_connections_is_walked_anew(
    connections: int, proxy: Proxy, keys: Keys, account: IMAPWorld, tmp_path: Path
) -> None:
    expected = decrypted(proxy, keys, tmp_path / "expected", user=account.user)
    before = list_of(account)

    def act() -> None:
        account.make_anew("Sent")

    proxy.faults[:] = in_the_middle(act, cut=True)
    found = decrypted(proxy, keys, tmp_path / "job", connections, user=account.user)
    assert {ref.key for ref in list_of(account)} != {ref.key for ref in before}
    assert State.FAILED not in found
    assert decrypted(proxy, keys, tmp_path / "job", connections, user=account.user) == expected
    assert left(tmp_path) == []


def list_of(account: IMAPWorld) -> list[MessageRef]:
    with opened(account.server, account.user) as mailbox:
        return [one.ref for folder in mailbox.folders() for one in mailbox.walk(folder)]
