"""The README is true: its sectool commands do what they say, and its set-up is what CI does.

So are those of ``docs/runbook.md``, and ``docs/commands.md`` names what the tool has, neither
more nor less.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import typer

from sectool.cli.app import EXIT_CODES, app, run_app
from sectool.demo.sample import sample_directory, unpack_maildir

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")

BLOCKS = [
    text
    for language, text in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    if not language
]
SETTING_UP = [line for block in BLOCKS for line in block.splitlines() if "venv" in line]
COMMANDS = [
    line
    for text in (*BLOCKS, *re.findall(r"`(sectool [^`]+)`", README))
    for line in text.splitlines()
    if line.startswith("sectool ")
]
"""In the order of the page, those inside a sentence last."""


def test_the_readme_shows_each_command_of_a_renewal_and_of_a_move() -> None:
    shown = [command.split()[1] for command in COMMANDS]
    renewal = ["rewrap", "rewrap", "verify", "purge"]
    move = ["scan", "decrypt", "encrypt", "status", "verify", "report"]
    assert shown[: len(renewal + move)] == renewal + move
    assert {"rollback", "keys"} <= {*shown}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool) -> Path:
    """What the README takes for granted: a mailbox, its keys, and where it will be moved to.

    Every third message of the sample mailbox; with ``--all`` every one.
    """
    sample = sample_directory()
    unpack_maildir(sample, tmp_path / "Maildir")
    mail = sorted(path for state in ("cur", "new") for path in tmp_path.rglob(f"{state}/*"))
    for number, path in enumerate(mail):
        if number % 3 and not whole:
            path.unlink()
    folders = tmp_path / ".thunderbird" / "profile" / "Mail" / "Local Folders"
    folders.mkdir(parents=True)
    for box in (tmp_path / "archive.mbox", folders / "Inbox"):
        box.write_bytes(b"".join(map(_as_of_mbox, mail)))
    shutil.copytree(sample / "keys" / "old", tmp_path / "keys")
    shutil.copy(sample / "keys" / "passphrase.txt", tmp_path / "pass.txt")
    for kind in ("pem", "key"):
        shutil.copy(sample / "keys" / "new" / f"owner-new.{kind}", tmp_path / f"new.{kind}")
        shutil.copy(tmp_path / f"new.{kind}", tmp_path / f"transport.{kind}")
    monkeypatch.setenv("HOME", str(tmp_path))
    # Inside a sentence a command stands without its options.
    monkeypatch.setenv("SECTOOL_PASSPHRASE", "sample")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _as_of_mbox(path: Path) -> bytes:
    line = b"From - Fri Mar  4 05:06:07 2011\nX-Mozilla-Status: 0001\n"
    return line + path.read_bytes() + b"\n" if path.exists() else b""


MOVED = "/srv/mail/alice/Maildir"


def _words(command: str, home: Path) -> Iterator[str]:
    for word in shlex.split(command)[1:]:
        path = word.replace("~", str(home), 1).replace(MOVED, str(home / "server" / "Maildir"))
        assert path.startswith(str(home)) or "/" not in path, f"where is {word}?"
        yield path


def test_every_command_of_the_readme_works_as_it_stands_there(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ended: dict[str, set[int]] = {}
    for command in COMMANDS:
        if MOVED in command and (home / "Maildir").exists():
            (home / "server").mkdir()
            shutil.move(home / "Maildir", home / "server" / "Maildir")
        ended.setdefault(command.split()[1], set()).add(run_app(list(_words(command, home))))
    # The sample has mail that no key opens: exit code 3 from what had to open it.
    looks = {name: {0} for name in ("scan", "status", "report", "keys")}
    acts = {name: {3} for name in ("rewrap", "verify", "purge", "decrypt", "encrypt", "rollback")}
    assert ended == looks | acts, capfd.readouterr().err


def test_the_readme_shows_what_a_renewal_ends_with(
    home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = home / "Maildir" / ".Projekt Umzug"
    unpack_maildir(sample_directory(), home / "whole")
    shutil.rmtree(home / "Maildir")
    shutil.move(home / "whole" / folder.name, home / "Maildir")
    for command in COMMANDS[:3]:
        capfd.readouterr()
        assert run_app(list(_words(command, home))) == 0
    said = [line.rstrip() for line in capfd.readouterr().out.splitlines()]
    (shown,) = re.findall(r"^```text\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    places = [said.index(line) for line in shown.splitlines() if line]
    assert places == sorted(places)


def test_the_demo_ends_well(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_app(["demo", str(tmp_path / "look")]) == 0
    assert "open after it" in capfd.readouterr().out


def _acts(line: str) -> list[str]:
    """The commands of a line, as the README writes them."""
    plain = (
        line.strip().replace('"$environment"', ".venv").replace('"$environment/bin/', ".venv/bin/")
    )
    plain = re.sub(r'(\.venv/bin/\w+)"', r"\1", plain).replace(" --quiet", "")
    return plain.split(" && ")


@pytest.mark.parametrize("line", SETTING_UP)
def test_what_the_readme_says_to_type_is_what_ci_runs(line: str) -> None:
    run = [act for line in CI.splitlines() for act in _acts(line)]
    places = [
        next((place for place, ran in enumerate(run) if ran.startswith(act)), None)
        for act in _acts(line)
    ]
    assert None not in places, list(zip(_acts(line), places, strict=True))


def test_the_readme_has_two_lines_to_set_up() -> None:
    assert [line.split(" && ")[-1] for line in SETTING_UP] == [
        ".venv/bin/sectool demo",
        ".venv/bin/pytest -n auto",
    ]


OPTIONAL = {"pkcs11"}
"""Packages of extras: imported by those who ask for them, and not there otherwise."""


def _imported() -> set[str]:
    """Distributions of the packages that are neither Python's nor ours."""
    names = set()
    for path in (ROOT / "sectool").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    # pycryptodomex is imported as Cryptodome; case does not matter to pip (Pebble).
    distributions = packages_distributions()
    others = names - sys.stdlib_module_names - {"sectool"} - OPTIONAL
    return {distribution.lower() for name in others for distribution in distributions[name]}


def test_what_is_imported_is_what_is_installed() -> None:
    # The tests' own packages bring others along that a fresh installation lacks.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.match(r"[\w-]+", text)[0] for text in project["dependencies"]}  # type: ignore[index]
    assert _imported() == declared


# --- docs/runbook.md ------------------------------------------------------------------

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
SECTIONS = {
    text.partition("\n")[0]: [
        line
        for block in re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    for text in RUNBOOK.split("\n## ")[1:]
}
ENDS = {
    "One user": [0, 3, 3, 3, 0, 3, 3, 3, 3],
    "Mail that nobody can do": [3, 0, 0, 0],
    "The wrong certificate was given": [3, 3, 3, 3],
    "Mail in clear is to be encrypted, too": [0, 3, 3],
    "An archive in an mbox file": [0, 3, 3, 3, 3],
    "Thunderbird's local folders": [3, 3],
    "While it runs": [3, 0],
    "A pilot of ten messages": [3, 3, 3, 3],
    "A certificate is renewed": [3, 3, 3, 3, 3],
    "An archive of .eml files": [0, 3, 3],
    "An old key is to go": [3, 3, 3, 0, 3, 0],
    "An old key is compromised": [3, 3, 3],
    "The four kinds of move": [0, 0],
    "In clear meanwhile": [3, 3, 3, 3],
    "A job directory that others can read": [3, 3],
    "How long plaintext has been lying there": [3, 3, 0, 0],
    "Undo": [3, 3, 3],
    "Mail that is lost": [3, 3],
}
"""The sample has mail that no key opens: exit code 3 from what had to open it."""


def _by_the_shell(command: str, home: Path) -> int:
    """Runs a command that goes on into another program."""
    if shutil.which("jq") is None and os.environ.get("SECTOOL_REQUIRE_PEERS") != "1":
        pytest.skip("no jq")
    command = command.replace("sectool", f"{shlex.quote(sys.executable)} -m sectool", 1)
    environment = {**os.environ, "HOME": str(home)}
    return subprocess.run(["bash", "-c", command], env=environment, check=False).returncode


def test_the_runbook_has_no_commands_that_nothing_runs() -> None:
    assert {title for title, lines in SECTIONS.items() if lines} == ENDS.keys()


def _in_this_process(command: str) -> list[str]:
    """Words that keep a command from starting processes, as those of the README do."""
    subcommand = typer.main.get_command(app).commands[command.split()[1]]  # type: ignore[attr-defined]
    options = {option for param in subcommand.params for option in param.opts}
    return ["--workers=0"] if "--workers" in options and "--workers" not in command else []


@pytest.mark.parametrize("title", ENDS)
def test_every_command_of_the_runbook_works_as_it_stands_there(
    title: str, home: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ended = []
    if title == "An archive of .eml files":
        (home / "archive").mkdir()
        for number, path in enumerate((home / "Maildir").glob("**/cur/*")):
            shutil.copy(path, home / "archive" / f"{number}.eml")
    for command in SECTIONS[title]:
        if MOVED in command and (home / "Maildir").exists():
            (home / "server").mkdir()
            shutil.move(home / "Maildir", home / "server" / "Maildir")
        if "|" in command:
            ended.append(_by_the_shell(command, home))
        else:
            ended.append(run_app([*_words(command, home), *_in_this_process(command)]))
    assert ended == ENDS[title], capfd.readouterr().err


def test_the_runbook_says_of_every_exit_code_what_to_do() -> None:
    told = {
        int(code)
        for row in re.findall(r"^\| ([\d, ]+) \|", RUNBOOK, re.MULTILINE)
        for code in row.split(", ")
    }
    listed = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    assert told | {0} == {int(code) for code in re.findall(r"^\| (\d+) \|", listed, re.MULTILINE)}


# --- docs/guarantees.md ---------------------------------------------------------------

GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
CITED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", GUARANTEES)


@pytest.mark.parametrize(("file", "name"), CITED)
def test_a_test_that_a_guarantee_cites_exists(file: str, name: str) -> None:
    source = (ROOT / file).read_text(encoding="utf-8")
    assert re.search(rf"^def {name}\(", source, re.MULTILINE)


def test_every_guarantee_cites_a_test() -> None:
    rows = re.findall(r"^\| (G\d) .*`tests/", GUARANTEES, re.MULTILINE)
    assert rows == [f"G{number}" for number in range(1, 10)]


# --- docs/commands.md ----------------------------------------------------------------

PAGE = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
TOOL: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
OF_ALL = ("| `--help`, `-h` |", "| `--version` |")
"""Rows of what no single command has."""


def _rows(heading: str) -> list[str]:
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    return [row for row in rows if not row.startswith(OF_ALL)]


def _option_rows() -> set[str]:
    """One row for each option and meaning, as the tool has them."""
    commands: dict[tuple[str, str, str], list[str]] = {}
    for name, command in TOOL.items():
        for option in command.params:
            if option.param_type_name == "option":
                names = ", ".join(f"`{text}`" for text in option.opts)
                value = f"`{option.metavar}`" if option.metavar else ""
                commands.setdefault((names, value, option.help), []).append(name)
    return {
        f"| {names} | {value} | {', '.join(takers)} | {text} |"
        for (names, value, text), takers in commands.items()
    }


def _command_rows() -> set[str]:
    rows = set()
    for name, command in TOOL.items():
        taken = [option for option in command.params if option.param_type_name == "argument"]
        words = (
            word if option.required or word.startswith("[") else f"[{word}]"
            for option in taken
            for word in [option.metavar]
        )
        text = " ".join(command.help.split("\n\n")[0].split())
        codes = ", ".join(map(str, sorted(EXIT_CODES[name])))
        rows.add(f"| `{name}` | `{' '.join(words)}` | {text} | {codes} |")
    return rows


@pytest.mark.parametrize("heading", ["Commands", "Options"])
def test_the_page_of_commands_has_what_the_tool_has_and_nothing_else(heading: str) -> None:
    rows = _rows(heading)
    wanted = _command_rows() if heading == "Commands" else _option_rows()
    missing = "\n".join(sorted(wanted - set(rows)))
    untrue = "\n".join(sorted(set(rows) - wanted))
    assert not missing, f"docs/commands.md, {heading}: add these rows\n{missing}"
    assert not untrue, f"docs/commands.md, {heading}: these rows are not in the tool\n{untrue}"
    assert len(rows) == len(set(rows))
