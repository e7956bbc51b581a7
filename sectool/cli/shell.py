"""The one place that turns errors into words and exit codes, and the terminal's manners.

Without ``--json`` everything is for a person and goes to standard error. With
it, one JSON document goes to standard output, also when the run fails.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence

import typer
from typer.exceptions import Abort, Exit, TyperException

from sectool.errors import Interrupted, SectoolError, UsageError

TRACEBACK_VERBOSITY = 2
"""``-vv``: errors come with the place in the source they came from."""


def run_app(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: the words after ``sectool``; None: of this process.

    Returns:
        The exit code of the command contract.
    """
    from sectool.cli.app import app  # needs this module

    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = typer.main.get_command(app).main(words, prog_name="sectool", standalone_mode=False)
    except Exit as ended:
        return ended.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the last line of defence
        if _verbosity(words) >= TRACEBACK_VERBOSITY:
            traceback.print_exception(error)
        failure, code = _failure(error)
        _tell(failure, code, as_json="--json" in words)
    return int(code or 0)


def _verbosity(words: Sequence[str]) -> int:
    return sum(
        word.count("v") for word in words if word.startswith("-v") and set(word[1:]) == {"v"}
    ) + words.count("--verbose")


def _failure(error: BaseException) -> tuple[SectoolError, int]:
    """What to tell of an error, and the exit code."""
    if isinstance(error, SectoolError):
        return error, error.exit_code
    if isinstance(error, (Abort, KeyboardInterrupt)):
        interrupted = Interrupted("interrupted", hint="the same command resumes")
        return interrupted, interrupted.exit_code
    if isinstance(error, TyperException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "sectool"
        return UsageError(_lower(error.format_message()), hint=f"see `{path} --help`"), 2
    # The text of a foreign error may hold anything, so only its kind is shown.
    bug = SectoolError(
        f"sectool met an error of its own ({type(error).__name__}); nothing was removed",
        hint="run it again with -vv and report what it prints; the same command resumes",
    )
    return bug, bug.exit_code


def _tell(error: SectoolError, code: int, *, as_json: bool) -> None:
    if as_json:
        body = {"code": code, "message": error.message, "hint": error.hint}
        print(json.dumps({"format": 1, "error": body}, ensure_ascii=False))
        return
    say(f"sectool: error: {error.message}")
    if error.hint:
        say(f"sectool: hint: {error.hint}")


def _lower(text: str) -> str:
    return (text[:1].lower() + text[1:]).rstrip(".").replace("\n", " ")


def say(text: str = "") -> None:
    """One line for a person, on standard error; what a terminal could obey is taken out."""
    print("".join(c if c.isprintable() or c == "\n" else "?" for c in text), file=sys.stderr)
