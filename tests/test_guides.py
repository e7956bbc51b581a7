"""The guides are true: their commands and their script do what they say, and no link is broken."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sectool.cli.app import run_app
from sectool.demo.sample import sample_directory, unpack_maildir

ROOT = Path(__file__).parents[1]
MANY_USERS = (ROOT / "docs" / "guides" / "many-users.md").read_text(encoding="utf-8")
KEYS = (ROOT / "docs" / "guides" / "keys.md").read_text(encoding="utf-8")
USERS = ("alice", "bob")


def _blocks(page: str, kind: str = "") -> list[str]:
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [text for language, text in fences if language == kind]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two users with every ninth message of the sample mailbox, and their keys."""
    sample = sample_directory()
    rows = []
    for user in USERS:
        own = tmp_path / user
        own.mkdir()
        unpack_maildir(sample, own / "Maildir")
        mail = sorted(path for state in ("cur", "new") for path in own.rglob(f"{state}/*"))
        for number, path in enumerate(mail):
            if number % 9:
                path.unlink()
        shutil.copytree(sample / "keys" / "old", own / "keys")
        places = ("Maildir", "moved", "keys")
        files = (
            sample / "keys" / "passphrase.txt",
            sample / "keys" / "new" / "owner-new.pem",
            sample / "keys" / "new" / "owner-new.key",
        )
        rows.append(",".join([user, *(str(own / place) for place in places), *map(str, files)]))
    (tmp_path / "users.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _move_mail(home: Path, step: str) -> tuple[int, list[str]]:
    """Runs the script of the page; answers its exit code and what it said of each user."""
    programs = home / "programs"
    if not programs.exists():
        programs.mkdir()
        (programs / "move-mail").write_text(_blocks(MANY_USERS, "bash")[0])
        run = f'{shlex.quote(sys.executable)} -P -m sectool "$@"'
        # Worker processes would take longer to start than such mailboxes take.
        (programs / "sectool").write_text(
            f"#!/bin/sh\ncase $1 in purge) exec {run} ;; *) exec {run} --workers=0 ;; esac\n"
        )
        for path in programs.iterdir():
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    with (home / "users.csv").open("rb") as table:
        done = subprocess.run(
            ["move-mail", step, str(home / "jobs")],
            stdin=table,
            capture_output=True,
            env=environment,
            check=False,
            text=True,
        )
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def test_the_script_moves_the_mail_of_many_users(home: Path) -> None:
    # The sample has mail that no key opens: 3 from what had to open it.
    for step in ("scan", "decrypt", "encrypt", "verify", "purge"):
        if step == "encrypt":
            for user in USERS:
                (home / user / "Maildir").rename(home / user / "moved")
        code, said = _move_mail(home, step)
        assert code == 3
        assert said == [f"{user} {step} 3" for user in USERS]
    answers = (home / "jobs" / "bob.verify.txt").read_text()
    assert re.search(r"^verified +[1-9]", answers, re.MULTILINE)


def test_the_script_goes_on_with_the_next_user_and_tells_the_worst(home: Path) -> None:
    shutil.rmtree(home / "alice" / "Maildir")
    assert _move_mail(home, "decrypt") == (10, ["alice decrypt 10", "bob decrypt 3"])


def test_the_commands_of_the_guide_on_keys_work_as_they_stand_there(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = [line for block in _blocks(KEYS) for line in block.splitlines()]
    shutil.copy(sample_directory() / "keys" / "passphrase.txt", home / "pass.txt")
    words = (shlex.split(line.replace("~", str(home / "alice")))[1:] for line in lines)
    ended = [run_app(each) for each in words]
    assert len(lines) == 2
    assert ended == [0, 0], capfd.readouterr().err


def test_each_page_is_on_the_site() -> None:
    shown = set(re.findall(r": ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert shown == pages


def _anchors(page: str) -> set[str]:
    """As both the site and code hosts make them of headings."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize(
    "path",
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_link_leads_to_nothing(path: Path) -> None:
    broken = []
    for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", path.read_text("utf-8")):
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        if not file.exists() or (anchor and anchor not in _anchors(file.read_text("utf-8"))):
            broken.append(target)
    assert not broken
