"""What SIGINT, SIGTERM and SIGHUP mean: stop at once, or after the messages under way."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType

from sectool.errors import Interrupted, Terminated

Handler = Callable[[int, FrameType | None], None]


SIGNALS = tuple(
    number for number in signal.Signals if number.name in {"SIGINT", "SIGTERM", "SIGHUP"}
)
"""Those that ask a command to end; Windows has no SIGHUP."""


class Stopped(KeyboardInterrupt):
    """A signal asked this process to stop at once.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """What the process ends with, as its status file tells it."""
        return interruption(self.number).exit_code


def interruption(number: int) -> Interrupted:
    """The error that a signal ends a command with."""
    kind, word = (
        (Interrupted, "interrupted") if number == signal.SIGINT else (Terminated, "terminated")
    )
    return kind(word, hint="the same command resumes")


@contextmanager
def handling(handler: Handler) -> Iterator[None]:
    """Those signals call ``handler`` meanwhile; one that was ignored stays so (``nohup``)."""
    before = {
        number: signal.getsignal(number)
        for number in SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier or signal.SIG_DFL)


def stopping_at_once() -> AbstractContextManager[None]:
    """Those signals raise ``Stopped`` wherever the process is."""

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number)

    return handling(stop)


class SignalCancel:
    """A ``Cancel`` that a first signal presses; a second one stops the process at once.

    Args:
        quiet: the first signal gets no answer.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._received: int | None = None

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Handler of those signals."""
        if self._received is not None:
            raise Stopped(number)
        self._received = number
        if not self._quiet:
            # Not print: the signal may have come in the middle of one.
            with suppress(OSError):
                start = "\n" if sys.stderr is not None and sys.stderr.isatty() else ""
                words = "sectool: Finishing the current messages. Press Ctrl-C again to stop now.\n"
                os.write(2, f"{start}{words}".encode())

    def check(self) -> None:
        """Ends the run when a signal came."""
        if self._received is not None:
            raise interruption(self._received)
