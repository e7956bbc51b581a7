"""How workers come to a mailbox: by credentials that go nowhere else, few at once, out again."""

from __future__ import annotations

import logging
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import LoginRefused, UsageError
from sectool.hardening import Secret, handing_over
from sectool.jobs.passes.preflight import free_bytes
from sectool.jobs.session.job import check_apart
from sectool.jobs.work import ahead
from sectool.mailbox import Access, Credentials, Mailbox, MailboxSpecification, open_mailbox
from sectool.mailbox.maildir import Maildir
from sectool.mailbox.recognise import STORES
from tests.support import guarded
from tests.support.guarded import COUNT_MAIL, PASSWORD, Argument, Task
from tests.support.mailboxes import Mail, fill
from tests.support.one_file_world import fill_one_file

CREDENTIALS = Credentials("alice", Secret(PASSWORD))


@pytest.fixture
def account(sample: list[Mail], tmp_path: Path) -> Path:
    fill(tmp_path / "filled", sample)
    fill_one_file(tmp_path / "account", "imaplike", tmp_path / "filled")
    return tmp_path / "account"


@pytest.fixture
def mailbox(account: Path) -> Mailbox:
    return open_mailbox(MailboxSpecification(guarded.KIND, str(account)), CREDENTIALS)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_worker_is_let_in_by_the_credentials_of_the_run(
    workers: int, mailbox: Mailbox, account: Path
) -> None:
    answers = list(COUNT_MAIL.run([Task(1), Task(2)], Argument(mailbox.access), workers=workers))
    assert [found.total() for _, found in answers if isinstance(found, dict)] == [8, 8]
    (_, run), *others = guarded.door(account)
    assert run == os.getpid()
    (came, worker), *left = others
    assert came == "came"
    assert (worker == run) == (workers == 0)
    # A worker process is ended by a signal, and may be gone before it has closed the door.
    assert left == [("went", worker)] or (workers and not left)


def test_no_more_come_in_than_the_store_allows(mailbox: Mailbox, account: Path) -> None:
    tasks = [Task(number) for number in range(12)]
    assert len(list(COUNT_MAIL.run(tasks, Argument(mailbox.access), workers=8))) == 12
    inside: set[int] = set()
    most = 0
    for what, process in guarded.door(account):
        (inside.add if what == "came" else inside.discard)(process)
        most = max(most, len(inside))
    assert os.getpid() in inside
    assert most <= guarded.CONNECTIONS
    unlimited = replace(mailbox.access, connections=None)
    assert (unlimited.workers(8), mailbox.access.workers(8), mailbox.access.workers(1)) == (8, 2, 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_where_the_run_alone_comes_in_workers_are_given_what_it_fetched(
    workers: int, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = STORES[guarded.KIND]
    monkeypatch.setitem(
        STORES, guarded.KIND, lambda access: opener(replace(access, credentials=CREDENTIALS))
    )
    spec = jobs.Scan(mailbox=f"{guarded.KIND}:{account}", workers=workers)
    expected = jobs.run(replace(spec, workers=0))
    account.with_name("door").unlink()
    monkeypatch.setattr(guarded, "CONNECTIONS", 1)
    monkeypatch.setattr(ahead, "MESSAGES", 3)
    found = jobs.run(spec)
    assert (found.counts, found.keys) == (expected.counts, expected.keys)
    assert guarded.door(account) == [("came", os.getpid()), ("went", os.getpid())]
    quick = jobs.run(jobs.QuickScan(mailbox=spec.mailbox, workers=workers))
    assert quick.messages == found.messages


def test_a_wrong_password_ends_the_run(mailbox: Mailbox) -> None:
    wrong = Credentials("alice", Secret("wrong horse"))
    with pytest.raises(LoginRefused):
        open_mailbox(mailbox.specification, wrong)
    access = Access(mailbox.specification, wrong)
    with pytest.raises(LoginRefused) as refused:
        list(COUNT_MAIL.run([Task(1)], Argument(access), workers=1))
    assert "horse" not in repr(refused.value)


def test_a_secret_is_shown_nowhere_and_pickled_only_for_a_new_process(
    mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    access = mailbox.access
    caplog.set_level(logging.DEBUG)
    logging.getLogger("any").warning("%s %r", access, access)
    shown = [repr(access), str(CREDENTIALS), f"{CREDENTIALS.secret}", caplog.text]
    shown += [repr(vars(mailbox)), mailbox.specification.url, repr(mailbox.specification)]
    assert not [text for text in shown if PASSWORD in text]
    for one in (access, Argument(access), CREDENTIALS.secret):
        with pytest.raises(TypeError):
            pickle.dumps(one)
    with handing_over():
        travelled = pickle.loads(pickle.dumps(access))
    assert travelled.credentials.secret.reveal() == PASSWORD
    with pytest.raises(TypeError):
        pickle.dumps(access)


def test_a_run_leaves_no_secret_in_any_file(
    account: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No command asks for credentials yet, so that the store is opened with them here.
    opener = STORES[guarded.KIND]
    monkeypatch.setitem(
        STORES, guarded.KIND, lambda access: opener(replace(access, credentials=CREDENTIALS))
    )
    summary = jobs.run(jobs.Scan(mailbox=f"{guarded.KIND}:{account}", workers=0))
    assert summary.messages == 8
    assert PASSWORD not in repr(summary)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not [raw for raw in files if PASSWORD.encode() in raw]


def test_space_and_overlap_are_asked_of_the_store(
    mailbox: Mailbox, maildir: Path, tmp_path: Path
) -> None:
    stored = Maildir(MailboxSpecification("maildir", str(maildir)))
    assert mailbox.free_bytes() is None
    assert free_bytes(mailbox, None) is None
    assert free_bytes(stored, None)
    assert free_bytes(mailbox, tmp_path / "job" / "to be made")
    for inside in (maildir, maildir / "job", tmp_path, maildir / ".." / "Maildir" / "x"):
        with pytest.raises(UsageError, match="one inside the other"):
            check_apart(inside, stored)
        check_apart(inside, mailbox)  # its location is no path of this machine
    check_apart(tmp_path / "job", stored)
