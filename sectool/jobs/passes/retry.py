"""``--retry``: work on nothing but what an earlier run could not do.

A plain run tries it as well, where the bytes or the keys are others than before
or the fault may have been the system's, and takes new mail besides. With
``--retry`` all of it is tried whatever the keys are, and nothing else is
touched: phases stay as far as they had come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from sectool.errors import UsageError
from sectool.joblog import JobLog, JobMessage, MessageRecord
from sectool.jobs.session.spec import Operation
from sectool.message import Listing
from sectool.outcome import State
from sectool.summary import Retried

RETRIED = frozenset(
    {
        State.MISSING_KEY,
        State.UNSUPPORTED,
        State.MALFORMED,
        State.UNDER_SIGNATURE,
        State.REVIEW,
        State.REFUSED,
        State.FAILED,
        State.CHANGED,
    }
)
"""States that another try may lead out of."""


class Retry:
    """What one run tries once more.

    Args:
        log: of the job.
        phase: that is tried once more.
        is_asked_for: None of this is done without.

    Raises:
        UsageError: nothing was tried before, or the job was rolled back.
    """

    def __init__(self, log: JobLog, phase: Operation, *, is_asked_for: bool) -> None:
        self._is_asked_for = is_asked_for
        self._log = log
        self._before: dict[int, State] = {}
        self._names = log.standings.names_of(RETRIED) if is_asked_for else frozenset()
        if not is_asked_for:
            return
        if log.phase(phase) is None:
            raise UsageError(
                f"`sectool {phase}` was never run on this job",
                hint="leave --retry out",
            )
        if log.phase(Operation.ROLLBACK) is not None:
            raise UsageError(
                "this job was rolled back, so there is nothing to retry",
                hint="to begin again, run `sectool decrypt` on it without --retry",
            )

    def leaves(self, listing: Listing, known: MessageRecord | None) -> bool:
        """Whether this stored copy is none that an earlier run could not do."""
        if not self._is_asked_for:
            return False
        if known is None:
            # It may be one that its owner moved to another folder.
            return listing.ref.key not in self._names
        return known.state not in RETRIED or known.is_replaced

    def narrow(self, waiting: Iterable[JobMessage]) -> Iterator[JobMessage]:
        """Those that an earlier run could not replace."""
        for message in waiting:
            if self._is_asked_for:
                state = self._log.standings.of([message.message])[message.message]
                if state not in RETRIED and message.message not in self._before:
                    continue
            yield message

    def takes(self, message: int) -> None:
        """A message is tried once more."""
        if self._is_asked_for and message not in self._before:
            self._before.update(self._log.standings.of([message]))

    def outcome(self, done: frozenset[State]) -> Retried | None:
        """What was tried; None: this run did all there was to do.

        Args:
            done: states of a message that has nothing left to do.
        """
        if not self._is_asked_for:
            return None
        after = self._log.standings.of(self._before)
        ended = sum(state in done for state in after.values())
        return Retried(Counter(self._before.values()), ended)
