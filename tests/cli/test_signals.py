"""SIGINT, SIGTERM, SIGHUP, sent at a known moment: while the command reads its passphrase file."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import parsed

Fixture = Any

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}


class Waiting:
    """A command that waits for somebody to write the passphrase into a named pipe."""

    def __init__(self, process: subprocess.Popen[Any], pipe: int) -> None:
        self.process = process
        self._pipe = pipe

    def send(self, number: signal.Signals) -> None:
        _wait_until_asleep(self.process.pid)
        self.process.send_signal(number)

    def give_passphrase(self) -> None:
        os.write(self._pipe, b"sample\n")
        os.close(self._pipe)


def _wait_until_asleep(process: int) -> None:
    """A signal just before the process falls asleep in a read would be noticed only after it."""
    samples = 0
    while samples < 5:
        state = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        samples = samples + 1 if state[0] == "S" else 0
        time.sleep(0.02)


def _open_for_writing(path: Path) -> int:
    """Succeeds once a reader has come."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


@pytest.fixture
def start(tmp_path: Path, sample: Fixture) -> Iterator[Callable[..., Waiting]]:
    processes = []

    def call(*arguments: object) -> Waiting:
        fifo = tmp_path / "passphrase"
        if not fifo.exists():
            os.mkfifo(fifo)
        words = [*map(str, arguments), "--passphrase-file", str(fifo)]
        process = subprocess.Popen(
            [sys.executable, "-m", "sectool", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return Waiting(process, _open_for_writing(fifo))

    yield call
    for process in processes:
        process.kill()
        process.communicate()


def _wait_for_answer(waiting: Waiting) -> None:
    """The first signal was noticed before anything else happens."""
    assert waiting.process.stderr is not None
    line = waiting.process.stderr.readline()
    assert line.startswith("sectool: Finishing the current messages")


@pytest.mark.parametrize("number", CODES)
def test_a_first_signal_ends_the_run_between_messages_and_it_resumes(
    number: signal.Signals, start: Fixture, run: Fixture, sample: Fixture, tmp_path: Path
) -> None:
    # F05
    job = tmp_path / "job"
    words = ("decrypt", sample.small, "--keys", sample.keys / "old", "--job", job, "--workers=0")
    waiting = start(*words)
    waiting.send(number)
    _wait_for_answer(waiting)
    waiting.give_passphrase()
    out, err = waiting.process.communicate(timeout=60)
    assert waiting.process.returncode == CODES[number]
    assert out == ""
    assert [line.partition(" ")[2][:6] for line in err.splitlines()] == ["error:", "hint: "]
    resumed = run("decrypt", sample.small, *sample.history, "--job", job, "--workers=0", "--json")
    assert resumed.document["counts"]["checkpointed"] == 6


@pytest.mark.parametrize("number", CODES)
def test_a_second_signal_stops_at_once(
    number: signal.Signals, start: Fixture, sample: Fixture
) -> None:
    # F05
    waiting = start("scan", sample.small, "--keys", sample.keys / "old", "--json")
    waiting.send(number)
    _wait_for_answer(waiting)
    waiting.send(number)
    out, err = waiting.process.communicate(timeout=60)
    assert waiting.process.returncode == CODES[number]
    assert parsed(out)["error"]["code"] == CODES[number]
    assert "Traceback" not in err


@pytest.mark.parametrize("number", CODES)
def test_a_command_that_is_no_run_stops_at_the_first_signal(
    number: signal.Signals, start: Fixture, sample: Fixture
) -> None:
    waiting = start("keys", sample.keys / "old")
    waiting.send(number)
    _, err = waiting.process.communicate(timeout=60)
    assert waiting.process.returncode == CODES[number]
    assert err.splitlines()[0] in {"sectool: error: interrupted", "sectool: error: terminated"}


@pytest.mark.parametrize(
    ("number", "starting"),
    [
        # As a shell starts what stands before an ampersand.
        (signal.SIGINT, ["sh", "-c", 'trap "" INT; exec "$@"', "sh"]),
        (signal.SIGHUP, ["nohup"]),
    ],
)
def test_a_signal_that_was_ignored_stays_ignored(
    number: signal.Signals, starting: list[str], sample: Fixture, tmp_path: Path
) -> None:
    fifo = tmp_path / "passphrase"
    os.mkfifo(fifo)
    words = ["keys", str(sample.keys / "old"), "--passphrase-file", str(fifo)]
    process = subprocess.Popen(
        [*starting, sys.executable, "-m", "sectool", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    waiting = Waiting(process, _open_for_writing(fifo))
    waiting.send(number)
    waiting.give_passphrase()
    process.communicate(timeout=60)
    assert process.returncode == 0
