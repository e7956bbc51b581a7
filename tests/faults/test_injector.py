"""The library that lets calls go wrong sees them all, and does what it is told."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from pathlib import Path

import pytest

from tests.support.faults import Fault, FaultyProcess


def touch_everything(place: str) -> int:
    """Each kind of call once, by a path, a descriptor or relative to one."""
    directory = os.open(place, os.O_RDONLY)
    file = os.open("one", os.O_RDWR | os.O_CREAT, 0o600, dir_fd=directory)
    os.write(file, b"12345678")
    os.writev(file, [b"9", b"0"])
    os.pwrite(file, b"x", 0)
    os.pread(file, 4, 0)
    os.fsync(file)
    os.fdatasync(file)
    os.ftruncate(file, 6)
    os.fchmod(file, 0o600)
    os.fchown(file, -1, -1)
    os.utime(file)
    fcntl.flock(file, fcntl.LOCK_EX)
    os.link("one", "two", src_dir_fd=directory, dst_dir_fd=directory)
    os.rename("two", "three", src_dir_fd=directory, dst_dir_fd=directory)
    os.mkdir("four", dir_fd=directory)
    os.stat("one", dir_fd=directory, follow_symlinks=False)
    with os.scandir(directory) as entries:
        list(entries)
    os.unlink("three", dir_fd=directory)
    os.chdir(place)
    Path("one").unlink()
    os.close(file)
    return 0


def write_eight(path: str) -> int:
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    return os.write(file, b"12345678")


def read_and_tell(path: str) -> int:
    try:
        Path(path).read_bytes()
    except OSError as error:
        return error.errno or 0
    return 0


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    (tmp_path / "watched").mkdir()
    return tmp_path / "watched"


def test_a_call_is_seen_by_whatever_it_names_its_file(
    faulty: FaultyProcess, watched: Path, tmp_path: Path
) -> None:
    seen = Fault(act="", under=(watched,))
    ended = faulty.act(touch_everything, str(watched), place=tmp_path, fault=seen)
    assert ended.code == 0, ended.err
    kinds = {
        *("open", "create", "write", "read", "sync", "truncate", "rights", "times", "lock"),
        *("link", "rename", "mkdir", "stat", "list", "unlink", "close"),
    }
    assert {call.kind for call in ended.met} == kinds
    named = {(call.name, Path(call.path).name) for call in ended.met}
    assert {
        ("openat64", "one"),
        ("writev", "one"),
        ("pwrite64", "one"),
        ("fdatasync", "one"),
        ("futimens", "one"),
        ("mkdirat", "four"),
        ("unlinkat", "three"),
        ("unlink", "one"),
    } <= named
    assert [call.number for call in ended.met] == list(range(1, len(ended.met) + 1))


def test_what_lies_elsewhere_is_let_alone(
    faulty: FaultyProcess, watched: Path, tmp_path: Path
) -> None:
    beside = tmp_path / "watched-not"
    beside.write_bytes(b"")
    fault = Fault(error="EIO", first=1, last=99, under=(watched,))
    ended = faulty.act(read_and_tell, str(beside), place=tmp_path, fault=fault)
    assert (ended.code, ended.met) == (0, [])


@pytest.mark.parametrize("error", ["EIO", "ENOSPC", "EDQUOT", "EACCES", "EROFS", "EMFILE"])
def test_a_call_fails_with_the_error_it_was_told(
    error: str, faulty: FaultyProcess, watched: Path, tmp_path: Path
) -> None:
    (watched / "one").write_bytes(b"")
    fault = Fault(error=error, under=(watched,))
    ended = faulty.act(read_and_tell, str(watched / "one"), place=tmp_path, fault=fault)
    assert ended.code == getattr(errno, error)
    assert [call.kind for call in ended.met] == ["open"]


@pytest.mark.parametrize(
    ("act", "code", "size"),
    [("kill", -signal.SIGKILL, 0), ("tear", -signal.SIGKILL, 4), ("short", 4, 4), ("delay", 8, 8)],
)
def test_a_write_is_torn_cut_short_or_never_done(
    act: str, code: int, size: int, faulty: FaultyProcess, watched: Path, tmp_path: Path
) -> None:
    fault = Fault(calls=("write",), act=act, under=(watched,))
    ended = faulty.act(write_eight, str(watched / "one"), place=tmp_path, fault=fault)
    assert ended.code == code
    assert (watched / "one").stat().st_size == size
