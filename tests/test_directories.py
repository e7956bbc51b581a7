"""What is reached from an open directory stays what it was, whatever its path leads to."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from sectool.directories import Directory, is_regular, open_at
from sectool.message import open_regular_file


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "real" / "inner" / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "link").symlink_to("inner")
    return tmp_path


@pytest.mark.parametrize("way", ["link", "link/inner", "real/link", "real/inner/file", "real/gone"])
def test_no_link_and_nothing_but_directories_is_passed(place: Path, way: str) -> None:
    with pytest.raises((NotADirectoryError, FileNotFoundError)) as refused:
        Directory.at(place / way)
    assert str(place) in str(refused.value)


def test_the_way_from_an_open_directory_leads_where_it_led(place: Path) -> None:
    directory = Directory.at(place / "real").child("inner")
    (place / "real").rename(place / "moved")
    (place / "real").symlink_to("/")
    assert is_regular(directory / "file")
    (directory / "file").replace(directory / "other")
    assert [path.name for path in (place / "moved" / "inner").iterdir()] == ["other"]
    (directory / "other").unlink()
    (directory / "other").unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError, match="inner/other"):
        (directory / "other").unlink()
    assert not is_regular(directory / "other")


def test_two_who_read_a_directory_at_a_time_see_all_of_it(place: Path) -> None:
    names = {f"{number:0100}" for number in range(1500)}
    for name in names:
        (place / "real" / name).touch()
    directory = Directory.at(place / "real")
    with directory.scan() as first:
        seen = {next(first).name for _ in range(700)}
        with directory.scan() as second:
            assert {entry.name for entry in second} >= names
        seen |= {entry.name for entry in first}
    assert seen >= names


def test_it_is_closed_when_nobody_refers_to_it(place: Path) -> None:
    directory = Directory.at(place / "real")
    entry, descriptor = directory / "inner", directory.descriptor
    del directory
    os.fstat(descriptor)
    del entry
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_pipe_in_the_place_of_a_file_or_directory_is_not_waited_for(place: Path) -> None:
    os.mkfifo(place / "real" / "pipe")
    directory = Directory.at(place / "real")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular_file(directory / "pipe")
    with pytest.raises(NotADirectoryError):
        directory.child("pipe")
    with pytest.raises(OSError, match="symbolic links"):
        open_at(directory / "link", os.O_RDONLY)


def test_it_is_never_a_second_time_in_another_process(place: Path) -> None:
    with pytest.raises(TypeError, match="of one process"):
        pickle.dumps(Directory.at(place / "real"))
