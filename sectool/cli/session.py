"""Runs one job for a command: progress on a terminal, interrupts, passphrases, the answer."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Never

from sectool.cli.shell import say
from sectool.errors import Interrupted, Terminated

if TYPE_CHECKING:
    from tqdm import tqdm

    from sectool.jobs import JobSpec
    from sectool.outcome import Summary


@dataclass(frozen=True, slots=True)
class Manners:
    """How a person, or a program, wants to be talked to."""

    json: bool = False
    quiet: bool = False
    verbose: int = 0

    @property
    def shows_bars(self) -> bool:
        """Whether progress bars are drawn: only for a person at a terminal."""
        return not self.quiet and not self.json and sys.stderr.isatty()


class TerminalProgress:
    """A ``Progress`` that draws bars on a terminal and says warnings anywhere."""

    def __init__(self, manners: Manners) -> None:
        self._manners = manners
        self._bar: tqdm[Never] | None = None

    def begin(self, stage: str, total: int | None) -> None:
        """A stage starts."""
        if self._manners.shows_bars:
            from tqdm import tqdm

            self._bar = tqdm(
                total=total, desc=stage, unit=" messages", leave=False, dynamic_ncols=True
            )

    def advance(self, messages: int = 1) -> None:
        """More messages are done."""
        if self._bar is not None:
            self._bar.update(messages)

    def end(self) -> None:
        """The stage is over."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def note(self, text: str) -> None:
        """Said with ``-v`` only."""
        if self._manners.verbose:
            self._say(f"sectool: {text}")

    def warn(self, text: str, *, hint: str = "") -> None:
        """Said unless ``--quiet``."""
        if not self._manners.quiet:
            self._say(f"sectool: warning: {text}")
            if hint:
                self._say(f"sectool: hint: {hint}")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        say(text)


class SignalCancel:
    """A ``Cancel`` that SIGINT and SIGTERM press; a second SIGINT ends the process at once."""

    def __init__(self) -> None:
        self._received: int | None = None

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Handler of both signals."""
        if self._received is not None:
            raise KeyboardInterrupt
        self._received = number
        if not sys.stderr.closed:
            say("sectool: stopping after the messages under way; once more stops at once")

    def check(self) -> None:
        """Ends the run when a signal came."""
        if self._received == signal.SIGINT:
            raise Interrupted("interrupted", hint="the same command resumes")
        if self._received is not None:
            raise Terminated("terminated", hint="the same command resumes")


@contextmanager
def _signals(cancel: SignalCancel) -> Iterator[None]:
    before = {
        number: signal.signal(number, cancel.receive) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def passphrase_prompt() -> Callable[[str], str] | None:
    """Asks for passphrases at the terminal; None where nobody is there to answer."""
    if not sys.stdin.isatty():
        return None

    def ask(name: str) -> str:
        from getpass import getpass

        return getpass(f"passphrase of {name}: ", stream=sys.stderr)

    return ask


def run_job(spec: JobSpec, manners: Manners) -> Summary:
    """Carries out a run for a person at a terminal or a program behind a pipe."""
    from sectool import jobs

    jobs.harden()
    cancel = SignalCancel()
    progress = TerminalProgress(manners)
    with _signals(cancel):
        try:
            return jobs.run(spec, progress, cancel, passphrase_prompt())
        finally:
            progress.end()
