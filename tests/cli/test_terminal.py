"""What a person at a terminal of 80 columns sees and types."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import crash

Fixture = Any


class Terminal:
    """A command on a terminal of its own.

    Args:
        words: of the command.
        environment: of it.
        starts: whether an interpreter starts for it, as for a person's.
    """

    def __init__(self, *words: object, environment: dict[str, str], starts: bool = False) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))

        def take() -> None:
            # The new session takes the terminal, as a login does: that is where passphrases are
            # asked for.
            os.setsid()
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
            for number in range(3):
                os.dup2(theirs, number)
            os.closerange(3, 256)
            os.environ.clear()
            os.environ.update(environment)
            if starts:
                os.execv(sys.executable, [sys.executable, "-m", "sectool", *map(str, words)])

        self._child: int | None = crash.start_command(words, take)
        os.close(theirs)
        self.text = ""

    def wait_for(self, words: str | None) -> None:
        """Reads until these words stand there; None: until the command ends."""
        deadline = time.monotonic() + 60
        while words is None or words not in self.text:
            ready, _, _ = select.select([self._ours], [], [], deadline - time.monotonic())
            assert ready, self.text
            try:
                self.text += os.read(self._ours, 65536).decode()
            except OSError:  # as Linux says that nobody has the terminal open any more
                assert words is None, self.text
                return

    def type(self, keys: str) -> None:
        # What is typed before the echo is off is lost to the question.
        deadline = time.monotonic() + 60
        while termios.tcgetattr(self._ours)[3] & termios.ECHO and time.monotonic() < deadline:
            time.sleep(0.01)
        os.write(self._ours, keys.encode())

    def type_seen(self, keys: str) -> None:
        """What is typed where the echo stays on."""
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        self.wait_for(None)
        assert self._child is not None
        child, self._child = self._child, None
        return crash.wait_for(child)

    def close(self) -> None:
        if self._child is not None:
            os.kill(self._child, signal.SIGKILL)
            crash.wait_for(self._child)
        os.close(self._ours)


@pytest.fixture
def at_terminal() -> Iterator[Callable[..., Terminal]]:
    terminals = []

    def start(*words: object, starts: bool = False, **changes: str) -> Terminal:
        environment = {**os.environ, "TERM": "xterm", **changes}
        environment.pop("SECTOOL_PASSPHRASE", None)
        terminals.append(Terminal(*words, environment=environment, starts=starts))
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


@pytest.fixture
def key_file(sample: Fixture, tmp_path: Path) -> Path:
    """A key file whose name is longer than a line."""
    path = tmp_path / f"{'long' * 30}.p12"
    shutil.copy(sample.keys / "old" / "owner-2005-2008.p12", path)
    return path


QUESTION = "passphrase of "


def test_a_wrong_passphrase_is_asked_for_again_and_none_is_shown(
    at_terminal: Fixture, key_file: Path
) -> None:
    terminal = at_terminal("keys", key_file, starts=True)
    terminal.wait_for(QUESTION)
    assert len(terminal.text.rpartition("\n")[2]) < 80
    terminal.type("hunter2\n")
    terminal.wait_for("Wrong passphrase. Press Enter to skip this key file.\r\n" + QUESTION)
    terminal.type("sample\n")
    assert terminal.end() == 0
    assert "CN=Head Office 2005" in terminal.text
    assert "hunter2" not in terminal.text
    assert "sample" not in terminal.text


@pytest.mark.parametrize(("keys", "code"), [("\n", 12), ("\x04", 12), ("\x03", 130)])
def test_a_question_may_be_left(
    keys: str, code: int, at_terminal: Fixture, sample: Fixture, key_file: Path
) -> None:
    terminal = at_terminal("scan", sample.small, "--keys", key_file, "--workers=0")
    terminal.wait_for(QUESTION)
    terminal.type(keys)
    assert terminal.end() == code
    assert "\nsectool: error: " in terminal.text
    assert "Traceback" not in terminal.text


def test_progress_is_drawn_on_a_terminal(at_terminal: Fixture, sample: Fixture) -> None:
    terminal = at_terminal("scan", sample.maildir, "--workers=0")
    assert terminal.end() == 0
    assert "scan: " in terminal.text
    assert "messages/s" in terminal.text


@pytest.mark.parametrize(
    ("options", "changes"),
    [(["--quiet"], {}), (["--json"], {}), ([], {"TERM": "dumb"})],
    ids=["quiet", "json", "dumb terminal"],
)
def test_no_progress_is_drawn(
    options: list[str], changes: dict[str, str], at_terminal: Fixture, sample: Fixture
) -> None:
    terminal = at_terminal("scan", sample.small, "--workers=0", *options, **changes)
    assert terminal.end() == 0
    assert "messages/s" not in terminal.text


@pytest.mark.parametrize("changes", [{}, {"NO_COLOR": "1"}], ids=["plain", "NO_COLOR"])
def test_no_line_is_wider_than_the_terminal_and_none_has_a_colour(
    changes: dict[str, str], at_terminal: Fixture, sample: Fixture
) -> None:
    words = ("scan", sample.maildir, *sample.history, "--workers=0")
    terminal = at_terminal(*words, **changes)
    assert terminal.end() == 0
    shown = [part for line in terminal.text.split("\r\n") for part in line.split("\r")]
    # A command is copied whole.
    assert max(len(line) for line in shown if not line.startswith("next: sectool ")) <= 80
    assert "\x1b[3" not in terminal.text


def test_a_person_is_not_asked_where_only_the_input_is_no_terminal(
    run_in_fork: Fixture, key_file: Path
) -> None:
    answer = run_in_fork("keys", key_file)
    assert answer.code == 12
    assert QUESTION not in answer.err


@pytest.mark.parametrize(("keys", "code", "left"), [("no\n", 130, True), ("yes\n", 3, False)])
def test_the_first_purge_asks(
    keys: str, code: int, left: bool, at_terminal: Fixture, move: Fixture
) -> None:
    job = move.job
    terminal = at_terminal("purge", job, move.maildir, "--abandon", "--partial", "--workers=0")
    terminal.wait_for("Type yes: ")
    terminal.type_seen(keys)
    assert terminal.end() == code
    assert any((job / "checkpoints").glob("*.eml")) is left
    if left:
        assert "nothing was removed" in terminal.text


def test_purge_with_yes_asks_nothing(at_terminal: Fixture, move: Fixture) -> None:
    job = move.job
    words = ("purge", job, move.maildir, "--abandon", "--partial", "--yes", "--workers=0")
    terminal = at_terminal(*words)
    assert terminal.end() == 3
    assert "Type yes" not in terminal.text
