"""Runs one job for a command: progress on a terminal, interrupts, passphrases."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never, TypeVar

from sectool.cli.events import Events, open_events
from sectool.cli.options import Manners, RunManners
from sectool.cli.shell import note_warning, plain, say, say_in_lines, warnings_after
from sectool.cli.stopping import SignalCancel, handling, stopping_at_once
from sectool.cli.words.layout import shorten
from sectool.errors import Interrupted

if TYPE_CHECKING:
    from tqdm import tqdm

    from sectool.jobs import Run
    from sectool.outcome import Outcome
    from sectool.summary import StatusSummary, Summary

AnySummary = TypeVar("AnySummary", bound="Summary")

PROMPT_WIDTH = 48
"""Columns for the name of a key file in a question, so that there is room to type."""


def shows_bars(manners: Manners) -> bool:
    """Whether progress bars are drawn: only for a person at a terminal that can redraw a line."""
    if manners.quiet or manners.json or os.environ.get("TERM") == "dumb":
        return False
    return sys.stderr is not None and sys.stderr.isatty()


class TerminalProgress:
    """A ``Progress`` that draws bars on a terminal and says warnings anywhere.

    Args:
        manners: how a person wants to be talked to.
        events: takes down the same for a program.
        rehearses: whether nothing is written, and what is told only would be.
    """

    def __init__(self, manners: Manners, events: Events, *, rehearses: bool = False) -> None:
        self._manners = manners
        self._events = events
        self._rehearses = rehearses
        self._shows_bars = shows_bars(manners)
        self._bar: tqdm[Never] | None = None

    @property
    def shows_totals(self) -> bool:
        """Only a bar needs to know how much there is."""
        return self._shows_bars

    @property
    def hears_outcomes(self) -> bool:
        """With ``-v``, and where a program listens."""
        return self._events.are_heard or self._says_details

    @property
    def _says_details(self) -> bool:
        return bool(self._manners.verbose) and not self._manners.quiet

    def begin(self, stage: str, total: int | None) -> None:
        """A stage starts."""
        self._events.begin(stage, total)
        if self._shows_bars:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, desc=stage, unit=" messages", leave=False, dynamic_ncols=True
            )

    def advance(self, messages: int = 1) -> None:
        """More messages are done."""
        self._events.advance(messages)
        if self._bar is not None:
            self._bar.update(messages)

    def end(self) -> None:
        """The stage is over."""
        self._events.end()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def note(self, text: str) -> None:
        """Said with ``-v`` only."""
        if self._says_details:
            self._say(f"sectool: {text}")

    def outcome(self, outcome: Outcome) -> None:
        """Said with ``-v`` only."""
        self._events.outcome(outcome)
        if self._says_details:
            would = "would be " if self._rehearses else ""
            why = f": {outcome.reason}" if outcome.reason else ""
            self._say(f"sectool: {outcome.folder}/{outcome.ref}: {would}{outcome.state}{why}")

    def warn(self, text: str, *, hint: str = "") -> None:
        """Said unless ``--quiet``, and kept for the JSON document."""
        note_warning(text, hint)
        self._events.warn(text, hint)
        if not self._manners.quiet:
            self._say(f"sectool: warning: {text}")
            if hint:
                self._say(f"sectool: hint: {hint}")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        say_in_lines(text)


def passphrase_prompt() -> Callable[[str], str] | None:
    """Asks for passphrases at the terminal; None where nobody is there to answer."""
    if sys.stdin is None or not sys.stdin.isatty():
        return None

    asked = ""

    def ask(name: str) -> str:
        from getpass import getpass

        from sectool.keys import is_token_uri

        nonlocal asked
        what, leaving = "passphrase", "skip this key file"
        if is_token_uri(name):
            what, leaving = "PIN", "skip this token"
        elif "://" in name:
            what, leaving = "password", "give up"
        if name == asked:
            say(f"sectool: Wrong {what}. Press Enter to {leaving}.")
        asked = name
        # Nothing is under way while a person types, so an interrupt need not wait.
        with stopping_at_once():
            try:
                return getpass(f"{what} of {shorten(plain(name), PROMPT_WIDTH)}: ")
            except (EOFError, KeyboardInterrupt) as error:
                say()
                if isinstance(error, EOFError):
                    return ""
                raise

    return ask


def is_somebody_there() -> bool:
    """Whether a person can be asked."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None


def confirm(warning: str) -> None:
    """Asks the person at the terminal whether to go on.

    Raises:
        Interrupted: the answer was no.
    """
    say_in_lines(warning)
    with stopping_at_once():
        sys.stderr.write("Go on? Type yes: ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
    if answer.strip().lower() not in {"y", "yes"}:
        raise Interrupted("nothing was removed", hint="--yes removes without a question")


def run_job(spec: Run[AnySummary], manners: Manners) -> AnySummary:
    """Carries out a run for a person at a terminal or a program behind a pipe."""
    from sectool import jobs
    from sectool.cli.words.render import as_json
    from sectool.hardening import harden

    harden()
    before = len(warnings_after(0))

    def document(summary: StatusSummary) -> dict[str, Any]:
        return as_json(summary, warnings=warnings_after(before))

    cancel = SignalCancel(quiet=manners.quiet)
    rehearses = bool(getattr(spec, "dry_run", False))
    with open_events(_events_file(manners), spec.operation, dry_run=rehearses) as events:
        progress = TerminalProgress(manners, events, rehearses=rehearses)
        with handling(cancel.receive):
            try:
                summary = jobs.run(spec, progress, cancel, passphrase_prompt(), document)
            finally:
                progress.end()
        events.summary(summary)
        return summary


def _events_file(manners: Manners) -> Path | None:
    return manners.json_lines if isinstance(manners, RunManners) else None
