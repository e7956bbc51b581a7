"""What packagers get is whole: man pages say what --help says, and the units run what works."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from sectool.cli.app import SUMMARIES, app
from sectool.demo.sample import sample_directory, unpack_maildir
from tests.support.peers import require, run

PACKAGING = Path(__file__).parents[1] / "packaging"
UNITS = sorted((PACKAGING / "systemd").iterdir())


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``sectool`` on the PATH: that of this tree."""
    path = tmp_path / "programs" / "sectool"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m sectool "$@"\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(PACKAGING.parent))
    return path


def test_each_command_has_a_man_page_with_all_its_options(tmp_path: Path, program: Path) -> None:
    require("help2man", "man")
    run(PACKAGING / "make-man-pages", tmp_path / "man", directory=tmp_path)
    pages = {path.stem: path for path in (tmp_path / "man").iterdir()}
    assert pages.keys() == {"sectool", *(f"sectool-{name}" for name in SUMMARIES)}
    wide = {"MANWIDTH": "200", "MAN_KEEP_FORMATTING": ""}
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        shown = run(
            *("man", "--warnings", "-E", "UTF-8", "-l", pages[f"sectool-{name}"]),
            directory=tmp_path,
            environment=wide,
        ).decode()
        assert f"sectool-{name} - " in shown
        missing = [
            option
            for parameter in command.params
            if parameter.param_type_name == "option"
            for option in parameter.opts
            if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", shown)
        ]
        assert not missing, name


BASH = """
source ./sectool
COMP_WORDS=(sectool encrypt --profile mod) COMP_CWORD=3
_sectool_completion sectool
echo "$COMPREPLY"
"""
ZSH = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; echo READ""Y'
zpty -r -m shell line '*READY*'
zpty -w -n shell $'sectool encrypt --profile mod\t'
zpty -r -m shell line '*modern*' && echo modern
"""
"""What zsh completes shows only where somebody types."""
FISH = "source sectool.fish; complete -C 'sectool encrypt --profile mod'"


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", ("--norc", "-c", BASH)),
        ("zsh", ("-f", "-c", ZSH)),
        ("fish", ("--no-config", "-c", FISH)),
    ],
)
def test_a_shell_completes_with_what_is_made_for_it(
    shell: str, words: tuple[str, ...], tmp_path: Path, program: Path
) -> None:
    require(shell)
    made = tmp_path / "completions"
    run(PACKAGING / "make-completions", made, directory=tmp_path)
    assert run(shell, *words, directory=made).decode().split() == ["modern"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong_with_a_unit(unit: Path) -> None:
    require("systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", "--man=no", "verify", unit], capture_output=True, check=False, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_what_the_units_run_takes_what_came_since_and_tells_where_jobs_stand(
    tmp_path: Path, program: Path
) -> None:
    sample = sample_directory()
    unpack_maildir(sample, tmp_path / "Maildir")
    mail = sorted((tmp_path / "Maildir" / "cur").iterdir())
    late = tmp_path / "late"
    late.mkdir()
    for path in mail[6:]:
        shutil.move(path, late)
    paths = {
        "MAILBOX": tmp_path / "Maildir",
        "OLD_KEYS": sample / "keys" / "old",
        "PASSPHRASE_FILE": sample / "keys" / "passphrase.txt",
        "NEW_CERTIFICATE": sample / "keys" / "new" / "owner-new.pem",
    }
    (tmp_path / "jobs").mkdir(mode=0o700)

    def start(name: str) -> int:
        unit = (PACKAGING / "systemd" / name).read_text()
        bounds = re.findall(r"^CapabilityBoundingSet=(.*)$", unit, re.MULTILINE)[0].lower()
        held = ",".join(f"+{word.removeprefix('cap_')}" for word in bounds.split())
        limited = ["setpriv", f"--bounding-set=-all,{held}"] if os.geteuid() == 0 else []
        for line in re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE):
            words = [
                re.sub(r"\$\{(\w+)\}", lambda match: str(paths[match[1]]), word)
                .replace("/var/lib/sectool", str(tmp_path))
                .replace("%i", "alice")
                for word in shlex.split(line)
            ]
            code = subprocess.run([*limited, *words], check=False, cwd=tmp_path).returncode
            if code:
                return code
        return 0

    done = {0, 3}  # the sample has mail that no key opens
    assert start("sectool-rewrap@.service") in done
    before = {path: path.read_bytes() for path in (tmp_path / "Maildir").rglob("cur/*")}
    for path in late.iterdir():
        shutil.move(path, tmp_path / "Maildir" / "cur")
    came = {path: path.read_bytes() for path in (tmp_path / "Maildir").rglob("cur/*")}
    assert start("sectool-rewrap@.service") in done
    after = {path: path.read_bytes() for path in (tmp_path / "Maildir").rglob("cur/*")}
    assert len(after) == len(came)
    assert before.items() <= after.items(), "what was done stays"
    assert len(set(came.values()) - set(after.values())) > 1, "what came since is done"
    assert start("sectool-status.service") == 0
    assert "alice" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "report.csv").read_text().count("\n") == 2
