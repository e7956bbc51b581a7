"""Pipes that break, streams that are closed, locales that know no umlauts."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sectool.cli.shell import answer, plain
from tests.support.documents import parsed

Fixture = Any

SECTOOL = f"{shlex.quote(sys.executable)} -m sectool"


def _shell(script: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", script.replace("sectool", SECTOOL)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, **environment},
        check=False,
    )


@pytest.mark.parametrize("redirection", ["2>&-", ">&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_a_run_needs_nobody_to_listen(redirection: str, sample: Fixture, tmp_path: Path) -> None:
    job = tmp_path / "job"
    options = shlex.join([str(sample.small), *sample.history, f"--job={job}", "--workers=0"])
    assert _shell(f"exec sectool decrypt {options} {redirection}").returncode == 3
    assert len([path for path in (job / "checkpoints").rglob("*") if path.is_file()]) == 6


def test_a_reader_who_has_seen_enough_is_no_error(sample: Fixture) -> None:
    # It begins when the reader is gone, so that the pipe is surely broken.
    command = f"sectool scan {sample.small} --workers=0 --json"
    done = _shell(f"(sleep 1; exec {command}) | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (1, b"")


def test_help_may_be_read_in_part() -> None:
    done = _shell("(sleep 1; exec sectool --help) | true; exit ${PIPESTATUS[0]}")
    assert (done.returncode, done.stderr) == (1, b"")


def test_the_table_may_be_read_in_part(sample: Fixture) -> None:
    command = f"sectool scan {sample.small} --workers=0"
    done = _shell(f"(sleep 1; exec {command}) | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("form", "redirection"), [("--json", ">&-"), ("--json", ">/dev/full"), ("", ">/dev/full")]
)
def test_an_answer_that_cannot_be_given_is_an_error(
    form: str, redirection: str, sample: Fixture
) -> None:
    done = _shell(f"exec sectool status {sample.job} {form} {redirection}")
    assert done.returncode == 1
    assert done.stderr.startswith(b"sectool: error: ")
    assert b"Traceback" not in done.stderr


@pytest.fixture
def drafts(sample: Fixture, tmp_path: Path) -> Path:
    """A Maildir with mail in folders whose names have an umlaut."""
    for state in ("cur", "new", "tmp"):
        (tmp_path / "Maildir" / state).mkdir(parents=True)
    for folder in sample.maildir.glob(".*&APw-r*"):
        shutil.copytree(folder, tmp_path / "Maildir" / folder.name)
    return tmp_path / "Maildir"


@pytest.mark.parametrize("utf8_mode", ["0", "1"])
def test_json_is_utf8_in_every_locale(utf8_mode: str, drafts: Path) -> None:
    done = _shell(
        f"exec sectool scan {drafts} --workers=0 --json",
        LC_ALL="C",
        PYTHONUTF8=utf8_mode,
        PYTHONCOERCECLOCALE="0",
    )
    assert "Entwürfe" in parsed(done.stdout.decode("utf-8"))["folders"]


@pytest.mark.parametrize("utf8_mode", ["0", "1"])
def test_names_with_umlauts_are_no_trouble_in_the_c_locale(utf8_mode: str, drafts: Path) -> None:
    done = _shell(
        f"exec sectool scan {drafts} --workers=0",
        LC_ALL="C",
        PYTHONUTF8=utf8_mode,
        PYTHONCOERCECLOCALE="0",
    )
    assert done.returncode == 0
    assert b"rfe" in done.stdout or b"ro & Lager" in done.stdout


HOSTILE = {
    "control sequence": ("\x1b[2J", "?[2J"),
    "carriage return": ("a\rb", "a?b"),
    "eight-bit control sequence": ("\x9b2J", "?2J"),
    "right-to-left override": ("a\u202eb", "a?b"),
    "half a surrogate pair": ("a\udcffb", "a?b"),
    "umlaut": ("Entwürfe", "Entwürfe"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_a_terminal_obeys_is_printed_for_a_person(name: str) -> None:
    text, shown = HOSTILE[name]
    assert plain(text) == shown


@pytest.mark.parametrize("name", HOSTILE)
def test_json_keeps_every_text_and_holds_nothing_that_a_terminal_obeys(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    text, _ = HOSTILE[name]
    answer({"text": text})
    out = capfd.readouterr().out
    assert out.rstrip("\n").isprintable()
    # What is no character cannot be kept: RFC 8259 section 8.2.
    assert json.loads(out) == {"text": text.replace("\udcff", "\ufffd")}
