"""Runs with workers, interrupted and killed: no orphans, nothing lost (F03-F05, F07)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool import jobs
from sectool.outcome import State
from sectool.summary import Summary
from tests.support import checker
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.specifications import Specify

MESSAGES = 40
PATIENCE = 60.0
"""Seconds until what must happen has happened."""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="looks for processes in /proc"
)


@pytest.fixture(scope="module")
def many(keys: Keys) -> list[Mail]:
    return [
        Mail("", f"cur/13000{number:05}.M1P1.host:2,S", encrypted(number, keys.old))
        for number in range(MESSAGES)
    ]


class Run:
    """``sectool encrypt`` with two workers, as a group of processes that can be told apart."""

    def __init__(
        self, maildir: Path, job: Path, certificate: Path, terminal: int | None = None
    ) -> None:
        self.mark = f"SECTOOL_TEST_RUN={job}"
        name, _, value = self.mark.partition("=")
        command = [sys.executable, "-m", "sectool", "encrypt", maildir, "--job", job]
        command += ["--to", certificate, "--workers", "2"]
        if terminal is not None:
            command = ["setsid", "--ctty", *command]
        self._spool = maildir / "tmp"
        self.process = subprocess.Popen(
            list(map(str, command)),
            env={**os.environ, name: value},
            stdin=terminal or subprocess.DEVNULL,
            stdout=terminal or subprocess.DEVNULL,
            stderr=terminal or subprocess.PIPE,
            text=True,
            start_new_session=terminal is None,
        )

    def processes(self) -> list[int]:
        """Of this run, its workers included."""
        found = []
        for directory in Path("/proc").iterdir():
            try:
                environment = (directory / "environ").read_bytes()
            except OSError:
                continue
            if directory.name.isdigit() and self.mark.encode() in environment.split(b"\0"):
                found.append(int(directory.name))
        return found

    def wait_for_work(self) -> None:
        """Until a worker has begun to write new messages, or all is over."""
        wait_until(lambda: self.process.poll() is not None or any(self._spool.iterdir()))

    def end(self) -> tuple[int, str]:
        text = self.process.communicate(timeout=PATIENCE)[1]
        return self.process.returncode, text


def wait_until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.005)


@pytest.fixture
def decrypted(tmp_path: Path, many: list[Mail], specify: Specify) -> Path:
    maildir = tmp_path / "Maildir"
    fill(maildir, many)
    jobs.run(specify("decrypt", maildir))
    return maildir


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def is_whole(maildir: Path, many: list[Mail], keys: Keys, tmp_path: Path) -> bool:
    """Whether each message has one or two copies that the owner can read."""
    fill(tmp_path / "untouched", many)
    before = checker.meanings(tmp_path / "untouched", [keys.old])
    now = checker.meanings(maildir, [keys.old, keys.new])
    return all(copies <= now[mail] <= 2 * copies for mail, copies in before.items())


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)],
    ids=["interrupt", "stop", "hang up"],
)
def test_a_run_that_is_asked_to_stop_leaves_nothing_behind_and_resumes(
    decrypted: Path,
    many: list[Mail],
    keys: Keys,
    specify: Specify,
    tmp_path: Path,
    number: int,
    code: int,
) -> None:
    run = Run(decrypted, tmp_path / "job", keys.new.certificate)
    run.wait_for_work()
    os.killpg(run.process.pid, number)
    returned, text = run.end()
    assert returned in {code, 0}, text
    assert "Traceback" not in text
    wait_until(lambda: run.processes() == [])
    assert list((decrypted / "tmp").iterdir()) == []
    assert is_whole(decrypted, many, keys, tmp_path)
    assert counts(jobs.run(specify("encrypt", decrypted))) == {State.REENCRYPTED: MESSAGES}


def test_a_run_whose_terminal_is_closed_ends_between_messages_and_resumes(
    decrypted: Path, many: list[Mail], keys: Keys, specify: Specify, tmp_path: Path
) -> None:
    # F05
    screen, terminal = os.openpty()
    run = Run(decrypted, tmp_path / "job", keys.new.certificate, terminal)
    os.close(terminal)
    run.wait_for_work()
    os.close(screen)
    returned, _ = run.end()
    assert returned in {143, 0}
    wait_until(lambda: run.processes() == [])
    assert list((decrypted / "tmp").iterdir()) == []
    assert is_whole(decrypted, many, keys, tmp_path)
    assert counts(jobs.run(specify("encrypt", decrypted))) == {State.REENCRYPTED: MESSAGES}


def test_a_parent_that_is_killed_twice_leaves_no_worker_and_the_third_run_ends_it(
    decrypted: Path, many: list[Mail], keys: Keys, specify: Specify, tmp_path: Path
) -> None:
    for _ in range(2):
        run = Run(decrypted, tmp_path / "job", keys.new.certificate)
        run.wait_for_work()
        run.process.kill()
        run.end()
        wait_until(lambda run=run: run.processes() == [])  # type: ignore[misc]
        assert is_whole(decrypted, many, keys, tmp_path)
    assert counts(jobs.run(specify("encrypt", decrypted))) == {State.REENCRYPTED: MESSAGES}
    assert list((decrypted / "tmp").iterdir()) == []


def test_a_worker_that_is_killed_costs_no_message(
    decrypted: Path, keys: Keys, specify: Specify, tmp_path: Path
) -> None:
    run = Run(decrypted, tmp_path / "job", keys.new.certificate)
    run.wait_for_work()
    others = [process for process in run.processes() if process != run.process.pid]
    # The run, or this very process of it, may have come to its end meanwhile.
    with contextlib.suppress(ProcessLookupError):
        if others:
            os.kill(max(others), signal.SIGKILL)
    returned, text = run.end()
    # One that dies while it tells its result ends the run; the run says how to go
    # on. One that dies with a single message costs that one until the next run.
    assert returned in {0, 1, 3}, text
    assert "of its own" not in text
    assert list((decrypted / "tmp").iterdir()) == []
    assert counts(jobs.run(specify("encrypt", decrypted))) == {State.REENCRYPTED: MESSAGES}
