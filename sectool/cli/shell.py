"""The one place that turns errors into words and exit codes, and writes to the two streams.

What a command was asked for, its report, goes to standard output: tables for a person, or
with ``--json`` one JSON document, also when the command fails. Warnings, errors,
questions and progress go to standard error.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import typer

from sectool.cli.stopping import Stopped, interruption, stopping_at_once
from sectool.errors import (
    Again,
    CertificateUnusable,
    Interrupted,
    JobLogDamaged,
    RunError,
    SectoolError,
    UsageError,
)

FORMAT = 2
"""Of every JSON document; after the first release a member that goes or means something else
makes it one more."""

TRACEBACK_VERBOSITY = 2
"""``-vv``: errors come with the place in the source they came from."""

# Typer stands on click or, since 0.26, on a copy of its own: this name is right for both.
_TyperUsageError: Any = typer.BadParameter.__base__


def carry_out(run: Callable[[list[str]], None], words: list[str]) -> int:
    """Runs one command, and tells what becomes of it.

    Args:
        run: does it.
        words: those after ``sectool``.

    Returns:
        The exit code of the command contract.
    """
    try:
        _occupy_standard_descriptors()
        with stopping_at_once():
            run(words)
    except typer.Exit as ended:
        return ended.exit_code
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # the last line of defence
        if isinstance(error, BrokenPipeError) and _reader_is_gone():
            return 1
        if _verbosity(words) >= TRACEBACK_VERBOSITY:
            say(_trace(error))
        failure = _failure(error)
        _tell(failure, as_json="--json" in words)
        return failure.exit_code
    finally:
        _warnings.clear()
    return 0


def _occupy_standard_descriptors() -> None:
    """Else a file of the job would be opened under the number of a closed standard stream."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _reader_is_gone() -> bool:
    """Whether nobody reads standard output any more (``| head -1``): no one is left to tell.

    A pipe to a worker process may break as well, and that is no reason to be silent.
    """
    watch = select.poll()
    watch.register(1, select.POLLOUT)
    if not any(event & select.POLLERR for _, event in watch.poll(0)):
        return False
    _let_go_of_output()
    return True


def _let_go_of_output() -> None:
    """What is still in the buffer must not fail once more at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _verbosity(words: Sequence[str]) -> int:
    bundles = (word[1:] for word in words if word.startswith("-") and set(word[1:]) <= {"v", "q"})
    return sum(bundle.count("v") for bundle in bundles) + words.count("--verbose")


# --- failures ----------------------------------------------------------------------


def _failure(error: BaseException) -> SectoolError:
    """What to tell of an error."""
    if isinstance(error, SectoolError):
        return error
    if isinstance(error, Stopped):
        return interruption(error.number)
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return Interrupted("interrupted", hint="the same command resumes")
    if isinstance(error, _TyperUsageError):
        context = error.ctx
        path = context.command_path if context else "sectool"
        return UsageError(_in_our_words(error.format_message()), hint=f"see `{path} --help`")
    if isinstance(error, OSError):
        from sectool.durable import explain_unforeseen

        return explain_unforeseen(error)
    return SectoolError(
        f"internal error in sectool ({_kind(error)}); nothing was removed",
        hint="run it again with -vv and report what it prints; the same command resumes",
    )


_warnings: list[dict[str, str]] = []
"""What the command warned of so far; documents have it, too. None is left when it ends."""


def note_warning(text: str, hint: str) -> None:
    """Keeps a warning for the JSON document."""
    _warnings.append({"message": text, "hint": hint})


def warnings_after(count: int) -> list[dict[str, str]]:
    """The warnings kept so far, but for the first ones."""
    return _warnings[count:]


def tell(error: SectoolError, *, where: str = "") -> None:
    """What is wrong and what to do about it, a line each.

    Args:
        error: what was met.
        where: at which of several things a command was given; empty: there is one.
    """
    said = f"{where}: {error.message}" if where else error.message
    say_in_lines(f"sectool: error: {_one_line(said)}")
    say_in_lines(f"sectool: hint: {_one_line(_hint(error))}")


def error_body(error: SectoolError) -> dict[str, Any]:
    """The same as a member of a JSON document."""
    return {"code": error.exit_code, "message": error.message, "hint": _hint(error)}


def _tell(error: SectoolError, *, as_json: bool) -> None:
    if as_json:
        # Where standard output is the trouble, standard error has to do.
        with contextlib.suppress(SectoolError, OSError):
            answer({**envelope(error.exit_code), "error": error_body(error)})
    tell(error)


def _hint(error: SectoolError) -> str:
    return error.hint or _general_hint(error)


def _general_hint(error: SectoolError) -> str:
    if isinstance(error, UsageError):
        return "see `sectool --help`"
    if isinstance(error, CertificateUnusable):
        return "ask for another certificate"
    if isinstance(error, JobLogDamaged):
        return "restore `job.db` from a backup; the checkpoints are readable without it"
    if error.again is Again.NEVER:
        return "see to what it names first: the same command would end as this one did"
    return "once the cause is gone the same command resumes"


def _kind(error: BaseException) -> str:
    """The text of a foreign error may hold anything, so only its kind is shown."""
    if isinstance(error, OSError) and error.errno is not None:
        return f"{type(error).__name__}: {os.strerror(error.errno).lower()}"
    return type(error).__name__


def _trace(error: BaseException) -> str:
    """Where an error and its causes arose."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    before = "" if cause is None else _trace(cause)
    words = f": {error}" if isinstance(error, SectoolError) else ""
    places = "".join(traceback.format_tb(error.__traceback__))
    return f"{before}{places}{_kind(error)}{words}\n"


def _in_our_words(text: str) -> str:
    """Without the capitals and the full stop of somebody else's sentence."""
    before, _, rest = text.partition(": Input ")
    return _lower(f"{before}: input {rest}" if rest else text)


def _lower(text: str) -> str:
    return (text[:1].lower() + text[1:]).rstrip(".")


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())


# --- the two streams ---------------------------------------------------------------


def envelope(exit_code: int, warnings: Sequence[dict[str, str]] | None = None) -> dict[str, Any]:
    """What every document has.

    Args:
        exit_code: what the command ends with.
        warnings: None: all there were.
    """
    told = _warnings if warnings is None else warnings
    return {"format": FORMAT, "exit_code": exit_code, "warnings": list(told)}


def answer(document: dict[str, Any]) -> None:
    """One JSON document on standard output: UTF-8 whatever the locale (RFC 8259 section 8.1).

    Raises:
        RunError: standard output is closed, or cannot be written.
        BrokenPipeError: nobody reads it any more.
    """
    import json

    text = json.dumps(document, ensure_ascii=False)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(c) for c in text)
    write(text)


def write(text: str) -> None:
    """One line on standard output.

    Raises:
        RunError: standard output is closed, or cannot be written.
        BrokenPipeError: nobody reads it any more.
    """
    if sys.stdout is None:
        raise RunError("standard output is closed", hint="leave it open, the answer goes there")
    _put(f"{text}\n".encode())


def report(lines: Iterable[str]) -> None:
    """A table or another text for a person, on standard output.

    Where nobody is there to read it, or has seen enough, the command ends as it would.

    Raises:
        RunError: standard output cannot be written.
    """
    if sys.stdout is None:
        return
    text = "".join(f"{plain(line)}\n" for line in lines)
    try:
        _put(text.encode(sys.stdout.encoding, "backslashreplace"))
    except BrokenPipeError:
        _reader_is_gone()


def _put(raw: bytes) -> None:
    try:
        sys.stdout.buffer.write(raw)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _let_go_of_output()
        raise RunError(
            f"cannot write to standard output: {(error.strerror or '').lower()}",
            hint="the work is done; `sectool status` shows a job again",
        ) from error


def _escaped(character: str) -> str:
    """As JSON writes it; half a surrogate pair, from a name that is not UTF-8, is no character."""
    import json

    return "\ufffd" if "\ud800" <= character <= "\udfff" else json.dumps(character)[1:-1]


def plain(text: str) -> str:
    """Without what a terminal could obey."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def say(text: str = "") -> None:
    """One line for a person, on standard error; nobody there to read it is no reason to stop."""
    with contextlib.suppress(OSError):
        print(plain(text), file=sys.stderr)


def say_in_lines(text: str) -> None:
    """The same, broken at spaces where standard error is a terminal."""
    from sectool.cli.words.layout import wrapped

    for line in wrapped(plain(text), indent=len("sectool: "), stream=sys.stderr):
        say(line)
