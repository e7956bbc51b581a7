"""--help teaches, fits 80 columns and is quick; completion knows the commands."""

from __future__ import annotations

import importlib
import inspect
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from sectool.cli.app import EXIT_CODES, SUMMARIES, app
from sectool.cli.help import SECTIONS, section_of

Fixture = Any

COMMANDS = list(EXIT_CODES)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example(command: str, run: Fixture) -> None:
    answer = run(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.rstrip().splitlines()[-1].startswith(f"  Example: sectool {command}")


def test_every_command_says_how_it_ends() -> None:
    assert list(typer.main.get_command(app).commands) == COMMANDS  # type: ignore[attr-defined]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_exit_codes_of_the_command_and_no_others(command: str, run: Fixture) -> None:
    ending = " ".join(run(command, "--help").out.partition("Exit codes: ")[2].split())
    named = [int(text.split()[0]) for text in ending.partition(". Example")[0].split("; ")]
    assert named == sorted(EXIT_CODES[command])


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_80_columns_on_a_wider_terminal(
    command: str, run: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    answer = run(*command.split(), "--help")
    assert max(map(len, answer.out.splitlines())) <= 80


def test_the_list_of_commands_cuts_no_sentence(run: Fixture) -> None:
    assert "..." not in run("--help").out.partition("Commands:")[2]


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    summaries = {name: inspect.cleandoc(one.help).splitlines()[0] for name, one in commands.items()}
    assert summaries == SUMMARIES


def test_without_a_command_help_is_shown_and_the_code_is_usage(run: Fixture) -> None:
    answer = run()
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("Usage: sectool")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_shorter_than_40_lines(command: str) -> None:
    module = importlib.import_module(f"sectool.cli.commands.{command}")
    assert len(inspect.getsource(getattr(module, command)).splitlines()) < 40


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_loads_nothing_heavy(command: str) -> None:
    script = (
        "import sys; from sectool.cli.app import run_app; run_app(sys.argv[1:]);"
        "print([name for name in ('cryptography', 'pebble', 'tqdm', 'sqlite3', 'rich',"
        " 'multiprocessing', 'sectool.jobs', 'sectool.keys') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command.split(), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_no_types_of_python(command: str, run: Fixture) -> None:
    text = run(command, "--help").out
    assert not re.search(r"<\w+(\[\w+\])?>|<=|list\[", text)


def test_every_option_stands_under_one_heading() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    named = [name for names in SECTIONS.values() for name in names]
    assert len(named) == len(set(named))
    options = {
        one.opts[0]: section_of(one.opts)
        for command in commands.values()
        for one in command.params
        if one.param_type_name == "option"
    }
    assert set(named) - {"--help"} <= set(options)
    of_server = {name for name, title in options.items() if title == "A mailbox on a server"}
    assert of_server >= {"--user", "--password-file", "--ca-file", "--insecure"}
    assert not of_server & {"--yes", "--json-lines", "--keys"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize(("option", "word"), [("--profile", "post-quantum"), ("--to", "")])
def test_a_profile_is_completed_and_a_path_is_left_to_the_shell(
    shell: str, option: str, word: str, run_process: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = f"sectool encrypt {option} "
    monkeypatch.setenv("_SECTOOL_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", "3")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", words)
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    offered = run_process().out
    assert (word in offered) if word else offered.split() in ([], ["_files"])


_RUNS = ["scan", "decrypt", "encrypt", "rewrap", "verify", "rollback"]
_WITH_KEYS = ["scan", "keys", "decrypt", "encrypt", "rewrap", "verify", "rollback", "purge"]

SHARED = {
    "--json": [name for name in COMMANDS if name != "demo"],
    "--quiet": [name for name in COMMANDS if name != "demo"],
    "--verbose": COMMANDS,
    "--folder": _RUNS,
    "--since": _RUNS,
    "--before": _RUNS,
    "--limit": _RUNS,
    "--workers": [name for name in COMMANDS if name not in {"status", "report", "demo"}],
    "--passphrase-file": _WITH_KEYS,
    "--passphrases": _WITH_KEYS,
    "--user": _WITH_KEYS,
    "--password-command": _WITH_KEYS,
    "--dry-run": ["decrypt", "encrypt", "rewrap", "verify", "rollback", "purge"],
}
"""Options that mean the same wherever they stand, and where they stand."""


@pytest.mark.parametrize("option", SHARED)
def test_an_option_is_offered_by(option: str, run: Fixture) -> None:
    offering = [name for name in COMMANDS if f"{option} " in run(name, "--help").out]
    assert offering == SHARED[option]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("sectool s", {"scan", "status"}),
        ("sectool decrypt --passp", {"--passphrase-file", "--passphrases", "--passphrase-command"}),
    ],
)
def test_completion_offers(
    words: str, offered: set[str], run_process: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_SECTOOL_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(words.count(" ")))
    assert set(run_process().out.split()) == offered


def test_the_shell_is_given_a_completion_script(
    run_process: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_SECTOOL_COMPLETE", "source_bash")
    assert "complete -o default -F" in run_process().out


EMPTY = """
import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def nothing() -> None:
    pass


app()
"""
"""The least that a typer application can be."""


def _ratio(command: list[str], other: list[str]) -> float:
    """How many times longer ``command`` takes, by turns so that both meet the same load."""
    taken: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(9):
        for number, words in enumerate((command, other)):
            start = time.perf_counter()
            subprocess.run([sys.executable, *words, "--help"], capture_output=True, check=True)
            taken[number].append(time.perf_counter() - start)
    return statistics.median(taken[0]) / statistics.median(taken[1])


def test_help_takes_at_most_half_as_long_again_as_an_empty_application(tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text(EMPTY)
    # A busy machine may spoil a round or two, but does not make a slow program quick.
    rounds = (_ratio(["-m", "sectool"], [str(tmp_path / "empty.py")]) for _ in range(5))
    assert any(ratio <= 1.5 for ratio in rounds)
