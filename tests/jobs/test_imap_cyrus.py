"""The operations that write, killed on a real Cyrus, judged by what it tells another client."""

from __future__ import annotations

import itertools
import re
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sectool import jobs
from tests.jobs.test_imap_replacing import SECOND, hold_at_the_kill, of_the_server
from tests.jobs.test_stores import MARK, OPERATIONS, Meanings, counts
from tests.support import checker, crash
from tests.support.cyrus import Cyrus, running_cyrus
from tests.support.imap_world import ON_LOOPBACK, as_told, filled, url_of
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.specifications import Fields, Specify


@dataclass
class Account:
    """An account that is filled with the same mail again and again, and its job."""

    server: Cyrus
    directory: Path
    specify: Specify
    _looks: Iterator[int] = field(default_factory=itertools.count)

    def begin_again(self) -> None:
        """The mail is there as it was, under numbers that nobody had; no job is."""
        client = self.server.connect()
        for line in client.list()[1]:
            name = re.search(rb'"/" "?(.*?)"?\Z', line)[1].decode()  # type: ignore[arg-type,index]
            # A folder that a killed run had open is not always deleted; what is in it is.
            client.select(f'"{name}"')
            client.uid("STORE", "1:*", "+FLAGS", r"(\Deleted)")
            client.expunge()
        client.logout()
        filled(self.server, "alice", self.directory / "mail")
        shutil.rmtree(self.directory / "job", ignore_errors=True)

    def run_of(self, operation: str) -> jobs.Specification:
        options = Fields(job=self.directory / "job")
        if operation in OPERATIONS:
            options.update(OPERATIONS[operation][1])
        name = "decrypt" if operation == "in place" else operation
        made: jobs.Specification = self.specify(name, url_of(self.server), **options)
        return replace(made, account=ON_LOOPBACK)

    def meanings(self, *keys: checker.Key) -> Meanings:
        """What the checker finds in what the server tells, which ends lines with CRLF."""
        told = as_told(self.server, "alice", self.directory / f"told{next(self._looks)}")
        return Counter(
            checker.meaning(
                replace(
                    mail,
                    raw=MARK.sub(b"", mail.raw.replace(b"\r\n", b"\n")),
                    mtime_ns=mail.mtime_ns // SECOND * SECOND,
                    mode=0,
                ),
                keys,
            )
            for mail in checker.stored_mail(told)
        )

    def passes(self, specification: jobs.Specification) -> list[str]:
        """The points of a run."""
        trace = self.directory / "trace"
        assert crash.in_child(lambda: jobs.run(specification), f"trace@{trace}") == 0
        return trace.read_text(encoding="ascii").split()


@pytest.fixture
def account(
    sample: list[Mail], specify: Specify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Account]:
    monkeypatch.setenv("SECTOOL_IMAP_PASSWORD", "secret")
    fill(tmp_path / "mail", sample)
    with running_cyrus() as server:
        yield Account(server, tmp_path, specify)


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(one, marks=[] if one == "rewrap" else pytest.mark.all_only)
        for one in OPERATIONS
    ],
)
def test_replacing_killed_at_named_points_loses_nothing_and_resumes_to_the_same_end(
    account: Account, keys: Keys, whole: bool, operation: str
) -> None:
    """Takes 2 s for each kill; ``--all`` has each point of an act on the server, and the next."""
    first, _, state = OPERATIONS[operation]
    spec = account.run_of(operation)

    def begin_again() -> Meanings:
        account.begin_again()
        for one in first:
            jobs.run(account.run_of(one))
        return account.meanings(keys.old, keys.new)

    before = begin_again()
    points = account.passes(spec)
    after = account.meanings(keys.old, keys.new)
    wanted = counts(jobs.run(spec))
    assert wanted[state] > 0
    numbers = of_the_server(points)[::3]
    if whole:
        around = [n for n, name in enumerate(points, 1) if name.startswith("imap.")]
        numbers = sorted({*around, *(n + 1 for n in around if n < len(points))})
    for number in numbers:
        where = f"killed at point {number} of {len(points)}, {points[number - 1]}"
        assert begin_again() == before
        assert crash.in_child(lambda: jobs.run(spec), f"crash@{number}") == -signal.SIGKILL, where
        if operation != "in place":  # a plaintext does not mean the same to the checker
            hold_at_the_kill(account.meanings(keys.old, keys.new), before, where)
        assert counts(jobs.run(spec)) == wanted, where
        assert account.meanings(keys.old, keys.new) == after, where
    print(f"{operation}: {len(numbers)} kills of {len(points)} points")  # noqa: T201
