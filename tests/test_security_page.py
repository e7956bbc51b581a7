"""docs/security.md is true: the tests it names exist, and each of its set-ups works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sectool.demo.sample import sample_directory, unpack_maildir

pytestmark = pytest.mark.rights

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
CITED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
ATTACKERS = PAGE.partition("## The attackers")[2].partition("## Nobody")[0].split("\n### ")[1:]
SET_UPS = {
    section.partition("\n")[0]: re.search(r"^```\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    for section in PAGE.partition("## Set-ups")[2].split("\n### ")[1:]
}

USERS = {"alice": 12345, "sectool": 23456}
"""Numbers that are nobody's where the tests run."""

AS_USER = "setpriv --reuid {0} --regid {0} --clear-groups {1} --"
# The interpreter of the tests may lie in a directory of root's alone.
READS = "--inh-caps +dac_read_search --ambient-caps +dac_read_search"


@pytest.mark.parametrize(("file", "name"), CITED)
def test_a_test_that_the_page_cites_exists(file: str, name: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^def {name}\(", source, re.MULTILINE)


def test_every_row_of_an_attacker_cites_a_test() -> None:
    rows = [
        row
        for attacker in ATTACKERS
        for row in attacker.splitlines()
        if row.startswith("| ") and "they cannot" not in row
    ]
    assert len(rows) > 15
    assert [row for row in rows if "`tests/" not in row] == []


@pytest.fixture
def root() -> Iterator[Path]:
    """A directory that every user may pass through, as they may not through ``tmp_path``."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o711)
        yield Path(directory)


@pytest.fixture
def machine(root: Path) -> Path:
    """What the set-ups take for granted: a home, a mailbox of a mail server, keys."""
    sample = sample_directory()
    home = root / "home" / "alice"
    virtual = root / "var" / "mail" / "example.org" / "alice"
    keys = root / "var" / "lib" / "sectool" / "keys" / "alice"
    for maildir in (home / "Maildir", virtual):
        unpack_maildir(sample, maildir)
        for number, path in enumerate(sorted((maildir / "cur").iterdir())):
            if number % 8:
                path.unlink()
    shutil.copytree(sample / "keys" / "old", home / "keys")
    shutil.copy(sample / "keys" / "passphrase.txt", home / "pass.txt")
    shutil.copy(sample / "keys" / "new" / "owner-new.pem", home / "new.pem")
    shutil.copytree(home / "keys", keys)
    shutil.copy(home / "pass.txt", keys.with_name("alice.pass"))
    jobs = root / "var" / "lib" / "sectool" / "jobs"
    shutil.copytree(home, jobs, ignore=shutil.ignore_patterns("Maildir"))
    for place in (home, virtual):
        _give(place, USERS["alice"])
    _give(jobs, USERS["sectool"])
    return root


def _give(place: Path, user: int) -> None:
    for path in (place, *place.rglob("*")):
        os.chown(path, user, user)
        path.chmod(0o700 if path.is_dir() else 0o600)


def _here(line: str, machine: Path) -> str:
    """A line of the page, for the users and the directories of the test."""
    line = re.sub(r"(?<= )/(home|var)/", rf"{machine}/\1/", line)
    line = re.sub(
        r"runuser -u (\w+) --", lambda found: AS_USER.format(USERS[found[1]], READS), line
    )
    line = re.sub(r"(?<=-o )\w+", lambda found: str(USERS[found[0]]), line)
    line = re.sub(
        r"(--re[ug]id) (\w+)", lambda found: f"{found[1]} {USERS.get(found[2], found[2])}", line
    )
    return re.sub(r"(?:^|(?<= -- ))sectool", f"{sys.executable} -m sectool", line)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="becoming another user needs root"
)
@pytest.mark.parametrize("name", SET_UPS)
def test_a_set_up_works_and_new_copies_are_the_owners(name: str, machine: Path) -> None:
    block = SET_UPS[name]
    assert block is not None
    for line in block[1].splitlines():
        done = subprocess.run(
            _here(line, machine), shell=True, cwd=ROOT, capture_output=True, text=True, check=False
        )
        # The sample has mail that no key opens: exit code 3 from what had to open it.
        expected = 3 if re.search(r"sectool (decrypt|encrypt|rewrap)", line) else 0
        assert done.returncode == expected, (line, done.stderr)
    for place in (machine / "home", machine / "var" / "mail"):
        owners = {path.stat().st_uid for path in place.rglob("*") if path.is_file()}
        assert owners == {USERS["alice"]}
