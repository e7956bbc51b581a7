"""What happens at a crash point is code of the process: an environment alone does nothing there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sectool.crashpoints import crashpoint, install
from tests.support import crash
from tests.support.mailboxes import CLEAR, Mail, encrypted, fill, make_key

SOURCES = Path(__file__).parents[1] / "sectool"


def test_a_hook_is_told_each_point_until_another_takes_its_place() -> None:
    first: list[str] = []
    second: list[str] = []
    before = install(first.append)
    try:
        crashpoint("a.before")
        assert install(second.append) == first.append
        crashpoint("a.after")
    finally:
        install(before)
    crashpoint("b.before")
    assert (first, second) == (["a.before"], ["a.after"])


def decrypt(directory: Path) -> list[str]:
    """The words of a command that passes crash points."""
    key = make_key(directory, "old")
    fill(directory / "Maildir", [Mail("", "cur/1.M1.host:2,", encrypted(1, key))])
    fill(directory / "Maildir", [Mail("", "cur/2.M2.host:2,", CLEAR)])
    keys = ("--keys", str(key.certificate), "--keys", str(key.private_key))
    job = ("--job", str(directory / "job"), "--workers", "0")
    return ["decrypt", str(directory / "Maildir"), *keys, *job]


@pytest.mark.parametrize("fault", ["crash@1", "crash@joblog.commit.after:2", "trace@trace"])
def test_no_variable_kills_the_command_or_lets_it_write(fault: str, tmp_path: Path) -> None:
    words = decrypt(tmp_path)
    fault = fault.replace("@trace", f"@{tmp_path / 'trace'}")
    done = subprocess.run(
        [sys.executable, "-m", "sectool", *words],
        env={**os.environ, "SECTOOL_FAULT": fault},
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "trace").exists()
    # The tests' own way does both, so the points are there.
    again = [*words[:-4], "--job", str(tmp_path / "another"), "--workers", "0"]
    code = crash.command_in_child(again, tmp_path / "output", fault=fault)
    assert (code == -9, (tmp_path / "trace").exists()) in {(True, False), (False, True)}


def test_the_package_reads_no_variable_but_for_secrets_tokens_and_the_terminal() -> None:
    read = {
        name
        for path in SOURCES.rglob("*.py")
        for groups in re.findall(
            r"environ(?:\.get\(|\[)\"?(\w+)|(\w+) in os\.environ(?!\.items)",
            path.read_text(encoding="utf-8"),
        )
        for name in groups
        if name
    }
    assert read == {
        "COMPLETION_VARIABLE",
        "ENVIRONMENT_VARIABLE",
        "MODULE_VARIABLE",
        "PIN_VARIABLE",
        "TERM",
    }
