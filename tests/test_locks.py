"""Locks keep a second run out, say who holds them, and die with their process."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sectool.directories import Directory
from sectool.errors import Locked
from sectool.locks import DESCRIPTION_LIMIT, DirectoryLock, Lock

REPOSITORY = Path(__file__).parents[1]

HOLDING_FILE = """
import sys, time
from pathlib import Path
from sectool.locks import Lock
with Lock(Path(sys.argv[1]), what="job", holder="the other run"):
    print("held", flush=True)
    time.sleep(60)
"""

HOLDING_DIRECTORY = """
import sys, time
from pathlib import Path
from sectool.directories import Directory
from sectool.locks import DirectoryLock
with DirectoryLock(Directory.at(Path(sys.argv[1])), what="mailbox"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process(script: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


def lock(path: Path) -> Lock:
    return Lock(path, what="job", holder="this run")


def test_a_second_holder_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    with another_process(HOLDING_FILE, tmp_path / "lock"):
        with pytest.raises(Locked, match="the job is in use by the other run") as caught:
            lock(tmp_path / "lock").acquire()
        assert caught.value.exit_code == 11


def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    with another_process(HOLDING_FILE, tmp_path / "lock") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with lock(tmp_path / "lock"):
            assert (tmp_path / "lock").read_text() == "this run\n"


def test_the_same_process_is_refused_too(tmp_path: Path) -> None:
    with lock(tmp_path / "lock"), pytest.raises(Locked):
        lock(tmp_path / "lock").acquire()


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    first = lock(tmp_path / "lock")
    first.acquire()
    first.release()
    first.release()
    with lock(tmp_path / "lock"):
        pass


def test_a_stale_text_does_not_lock(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("a process that died long ago\n")
    with lock(tmp_path / "lock"):
        pass


def test_the_file_stays_and_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with lock(tmp_path / "lock"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("text")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        lock(tmp_path / "lock").acquire()
    assert (tmp_path / "precious").read_text() == "text"


def test_a_holder_text_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    holder = "\x1b[2J" + "x" * 2000
    with (
        Lock(tmp_path / "lock", what="job", holder=holder),
        pytest.raises(Locked) as caught,
    ):
        lock(tmp_path / "lock").acquire()
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < DESCRIPTION_LIMIT + 50


def test_a_directory_is_locked_without_a_trace_in_it(tmp_path: Path) -> None:
    before = tmp_path.stat()
    with another_process(HOLDING_DIRECTORY, tmp_path) as process:
        with pytest.raises(Locked, match=f"in use by process {process.pid}"):
            DirectoryLock(Directory.at(tmp_path), what="mailbox").__enter__()
        assert list(tmp_path.iterdir()) == []
        assert tmp_path.stat().st_mtime_ns == before.st_mtime_ns
    with DirectoryLock(Directory.at(tmp_path), what="mailbox"):
        pass


def test_a_locked_directory_takes_files(tmp_path: Path) -> None:
    with DirectoryLock(Directory.at(tmp_path), what="mailbox"):
        (tmp_path / "delivered").write_text("mail")


def test_two_directories_are_two_locks(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with (
        DirectoryLock(Directory.at(tmp_path), what="mailbox"),
        DirectoryLock(Directory.at(tmp_path / "a"), what="mailbox"),
    ):
        pass
