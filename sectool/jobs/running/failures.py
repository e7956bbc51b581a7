"""``--max-failures``: leaves a folder in which so much fails that something else must be wrong.

A wrong key under the right name or a failing disk damages no message, but going
on costs hours and buries the cause under thousands of reasons. Counted are the
failures that no look at the message explains; a missing key, or an algorithm
nobody knows, is no such failure. Messages under way when a folder is left are
brought to their end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from sectool.jobs.running.spec import JobSpec, Selection
from sectool.message import Listing
from sectool.outcome import State
from sectool.progress import NoProgress, Progress
from sectool.summary import LeftFolder

FAILURES = frozenset({State.FAILED, State.MALFORMED, State.REVIEW})
"""States that count as a failure of the run and not of the message."""

NO_WORK = frozenset({State.CLEAR, State.SIGNED})
"""States of messages that there was nothing to do on, so that they cannot fail."""

FEWEST = 10
"""Failures in a folder below which it is never left."""


class FailureLimit:
    """Counts what fails in each folder during one run.

    Args:
        spec: says how many percent may fail. A dry run looks at everything.
        earlier: messages of each folder that earlier runs have come to an end with,
            and that this one does not try again, by state.
    """

    def __init__(self, spec: JobSpec, earlier: Mapping[str, Counter[State]]) -> None:
        self.left: dict[str, LeftFolder] = {}
        self._percent = 100 if spec.dry_run else spec.max_failures
        self._failed: Counter[str] = Counter()
        self._looked_at: Counter[str] = Counter()
        self._progress: Progress = NoProgress()
        for folder, states in earlier.items():
            for state, count in states.items():
                self._count(folder, state, count)

    def tell(self, progress: Progress) -> None:
        """Warns there of folders that are left."""
        self._progress = progress

    def saw(self, folder: str, state: State) -> None:
        """A message of this folder has come to its end."""
        self._count(folder, state, 1)

    def _count(self, folder: str, state: State, count: int) -> None:
        if state not in NO_WORK:
            self._looked_at[folder] += count
            self._failed[folder] += count * (state in FAILURES)

    def leaves(self, listing: Listing, selection: Selection) -> bool:
        """Whether a message that was not begun yet is left with its folder; it is counted then."""
        if not selection.takes(listing):
            return False
        folder = listing.ref.folder
        failed, looked_at = self._failed[folder], self._looked_at[folder]
        if failed < FEWEST or failed * 100 <= looked_at * self._percent:
            return False
        if folder not in self.left:
            self._progress.warn(
                f"{folder} is left: {failed} of {looked_at} messages failed",
                hint="see why with `sectool status`; a higher --max-failures goes on with it",
            )
        before = self.left[folder].messages if folder in self.left else 0
        self.left[folder] = LeftFolder(folder, failed, looked_at, before + 1)
        return True
