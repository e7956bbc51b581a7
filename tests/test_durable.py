"""Files that are written, renamed and synced so that a power cut finds them whole."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sectool import durable
from sectool.crashpoints import install
from sectool.directories import Directory
from sectool.errors import MessageError, NoSpace, ReadOnlyMailbox, RunError, SectoolError
from sectool.message import BytesContent


@pytest.fixture
def trace() -> Iterator[list[str]]:
    """The names of the crash points that were passed."""
    passed: list[str] = []
    before = install(passed.append)
    yield passed
    install(before)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, NoSpace),
        (errno.EDQUOT, NoSpace),
        (errno.EFBIG, NoSpace),
        (errno.EROFS, ReadOnlyMailbox),
        (errno.EACCES, ReadOnlyMailbox),
        (errno.EPERM, ReadOnlyMailbox),
        (errno.EIO, RunError),
        (errno.ENOENT, RunError),
    ],
)
def test_an_error_of_the_system_is_explained(number: int, kind: type[SectoolError]) -> None:
    failure = OSError(number, os.strerror(number))
    with (
        pytest.raises(SectoolError, match="cannot write the thing: ") as caught,
        durable.explained("write the thing"),
    ):
        raise failure
    assert type(caught.value) is kind
    assert caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_a_new_file_has_its_mode_whatever_the_umask(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        with durable.new_file(tmp_path / "new", mode=mode) as stream:
            stream.write(b"bytes")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode


def test_a_new_file_has_its_mode_under_a_mask_that_forbids_all(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        with durable.new_file(tmp_path / "new") as stream:
            stream.write(b"bytes")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600


def test_a_new_file_is_never_readable_by_others_while_it_is_written(tmp_path: Path) -> None:
    with durable.new_file(tmp_path / "new") as stream:
        assert stat.S_IMODE(os.fstat(stream.fileno()).st_mode) == 0o600


def test_a_file_that_exists_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"old")
    with pytest.raises(FileExistsError), durable.new_file(tmp_path / "old"):
        pass
    assert (tmp_path / "old").read_bytes() == b"old"


def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="exists"), durable.new_file(tmp_path / "link"):
        pass
    assert not (tmp_path / "target").exists()


def test_a_new_file_that_fails_is_removed(tmp_path: Path) -> None:
    with pytest.raises(TypeError), durable.new_file(tmp_path / "new") as stream:
        stream.write("not bytes")  # type: ignore[call-overload]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_files_are_synced_between_two_points(tmp_path: Path, trace: list[str], count: int) -> None:
    files = [tmp_path / str(number) for number in range(count)]
    for path in files:
        path.write_bytes(b"x")
    durable.sync_files(iter(files), "act")
    assert trace == ["act.before", "act.after"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_file_that_cannot_be_synced_is_an_error(
    tmp_path: Path, trace: list[str], count: int
) -> None:
    files = [tmp_path / str(number) for number in range(count)]
    for path in files[1:]:
        path.write_bytes(b"x")
    with pytest.raises(FileNotFoundError):
        durable.sync_files(files, "act")
    assert trace == ["act.before"]


def test_a_directory_that_is_gone_cannot_be_synced(tmp_path: Path) -> None:
    durable.sync_directories([tmp_path, tmp_path], "act")
    with pytest.raises(FileNotFoundError):
        durable.sync_directories([tmp_path, tmp_path / "gone"], "act")


def test_a_rename_replaces(tmp_path: Path, trace: list[str]) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")
    durable.rename(tmp_path / "a", tmp_path / "b", "act")
    assert (tmp_path / "b").read_bytes() == b"new"
    assert trace == ["act.before", "act.after"]


def test_unlinking_what_is_gone_is_an_error_unless_allowed(tmp_path: Path) -> None:
    durable.unlink(tmp_path / "gone", "act", missing_ok=True)
    with pytest.raises(FileNotFoundError):
        durable.unlink(tmp_path / "gone", "act")


def test_a_second_name_is_of_the_same_file_and_takes_no_others_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with (tmp_path / "a").open("rb") as file:
        (tmp_path / "a").rename(tmp_path / "c")
        (tmp_path / "a").write_bytes(b"y")
        here = Directory.at(tmp_path)
        durable.link(file, here / "b", "act")
        assert (tmp_path / "b").samefile(tmp_path / "c")
        with pytest.raises(FileExistsError):
            durable.link(file, here / "a", "act")


def test_of_a_new_file_errors_of_writing_end_the_run_and_those_of_reading_cost_a_message(
    tmp_path: Path,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with (
            pytest.raises(NoSpace, match="cannot write it: file too large"),
            durable.new_output(tmp_path / "a", "write it") as stream,
        ):
            stream.write(bytes(2_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with (
        pytest.raises(MessageError, match="it cannot be read: is a directory"),
        durable.new_output(tmp_path / "b", "write it") as stream,
    ):
        stream.write(tmp_path.read_bytes())
    with (
        pytest.raises(RunError, match="cannot write it: no such file"),
        durable.new_output(tmp_path / "gone" / "c", "write it"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_durable", [True, False])
def test_a_file_is_replaced_whole(tmp_path: Path, is_durable: bool) -> None:
    for data in (b"one", b"two and more", b""):
        durable.replace_file(tmp_path / "file", data, "act", durable=is_durable)
        assert (tmp_path / "file").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_a_durable_replacement_syncs_before_and_after_it_renames(
    tmp_path: Path, trace: list[str]
) -> None:
    durable.replace_file(tmp_path / "file", b"x", "act")
    assert trace == [
        f"act.{step}.{when}"
        for step in ("sync", "rename", "directory")
        for when in ("before", "after")
    ]


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 1_000_000])
def test_what_was_written_reads_back(tmp_path: Path, size: int) -> None:
    raw = os.urandom(size)
    (tmp_path / "file").write_bytes(raw)
    durable.sync_file(tmp_path / "file")
    assert durable.read_back_digest(tmp_path / "file") == BytesContent(raw).digest


def test_a_link_does_not_read_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match="symbolic links"):
        durable.read_back_digest(tmp_path / "link")


def test_directories_are_made_private_with_their_parents(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        durable.make_directory(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_directory_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a").chmod(0o755)
    durable.make_directory(tmp_path / "a")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755


def test_a_file_in_the_way_of_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(OSError, match=r"exists|Not a directory"):
        durable.make_directory(tmp_path / "a")


def test_the_file_system_is_told(tmp_path: Path) -> None:
    assert durable.free_bytes(tmp_path) > 0
    assert not durable.on_network_file_system(tmp_path)
    if Path("/proc/self/mountinfo").exists():
        assert durable.file_system(Path("/proc")) == "proc"


@pytest.mark.parametrize("odd", ["\r", "\x0b", "\x85", "\u2028", "\udcff", "ä"])
def test_the_file_system_is_told_whatever_a_mount_is_called(odd: str) -> None:
    table = (
        f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:45 / /mnt/x{odd}\\040y rw - nfs4 server:/ rw\n"
    )
    assert durable.file_system_in(table, Path(f"/mnt/x{odd} y/z")) == "nfs4"
    assert durable.file_system_in(table, Path("/mnt/z")) == "ext4"
