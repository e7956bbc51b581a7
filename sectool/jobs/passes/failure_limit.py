"""``--max-failures``: leaves a folder in which so much fails that something else must be wrong.

A wrong key under the right name or a failing disk damages no message, but going
on costs hours and buries the cause under thousands of reasons. Counted are the
failures that no look at the message explains; a missing key, or an algorithm
nobody knows, is no such failure. Nor is mail that is damaged by itself: anybody
can send that. It is taken for damaged where other mail that names no other keys
opens, in this run or before. Messages under way when a folder is left are
brought to their end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sectool.joblog import MessagesAlike
from sectool.jobs.session.spec import Selection
from sectool.message import Listing
from sectool.outcome import RecipientKey, State
from sectool.progress import NoProgress, Progress
from sectool.summary import LeftFolder

Keys = frozenset[RecipientKey]
"""The keys at hand that the recipients of a message name."""

DOUBTFUL = frozenset({State.MALFORMED, State.REVIEW})
"""States of a message that is damaged, or whose key is another one of the same name."""

FAILURES = DOUBTFUL | {State.FAILED}
"""States that count as a failure of the run and not of the message, unless that is explained."""

NO_WORK = frozenset({State.CLEAR, State.SIGNED})
"""States of messages that there was nothing to do on, so that they cannot fail."""

OPENED = frozenset({State.CHECKPOINTED, State.READABLE, State.REFUSED})
"""States that an examination ends in where a key opened the message."""

FEWEST = 10
"""Failures in a folder below which it is never left."""


class FailureLimit:
    """Counts what fails in each folder during one run.

    Args:
        percent: how many may fail; 100: all.
        earlier: messages that earlier runs have come to an end with, and that this one does
            not try again.
        opened: keys that messages name which earlier runs opened.
    """

    def __init__(
        self, percent: int, earlier: Iterable[MessagesAlike], opened: Iterable[Keys] = ()
    ) -> None:
        self.left: dict[str, LeftFolder] = {}
        self._percent = percent
        self._failed: Counter[str] = Counter()
        self._doubtful: dict[Keys, Counter[str]] = {}
        self._opened: set[Keys] = set()
        self._looked_at: Counter[str] = Counter()
        self._progress: Progress = NoProgress()
        for keys in opened:
            self._take_as_good(keys)
        for standing in earlier:
            self._count(standing.folder, standing.state, standing.keys, standing.messages)

    def tell(self, progress: Progress) -> None:
        """Warns there of folders that are left."""
        self._progress = progress

    def saw(self, folder: str, state: State, keys: Keys | None = None) -> None:
        """A message of this folder has come to its end.

        Args:
            folder: its folder.
            state: what came of it.
            keys: those at hand that it names; None: it was not to be opened, so that what is
                damaged in it is so by itself.
        """
        if keys is not None and state in OPENED:
            self._take_as_good(keys)
        self._count(folder, state, keys, 1)

    def _count(self, folder: str, state: State, keys: Keys | None, count: int) -> None:
        if state in NO_WORK:
            return
        self._looked_at[folder] += count
        if state is State.FAILED:
            self._failed[folder] += count
        elif state in DOUBTFUL and keys is not None and not self._is_explained(keys):
            self._failed[folder] += count
            self._doubtful.setdefault(keys, Counter())[folder] += count

    def _take_as_good(self, keys: Keys) -> None:
        """A message that names these keys opened: one of them is no wrong one."""
        if keys and any(good <= keys for good in self._opened if good):
            return
        self._opened.add(keys)
        for doubtful in [one for one in self._doubtful if self._is_explained(one)]:
            self._failed -= self._doubtful.pop(doubtful)

    def _is_explained(self, keys: Keys) -> bool:
        """Whether a message that names these keys, and does not open, is itself the cause."""
        if not keys:
            return bool(self._opened)
        return any(good <= keys for good in self._opened if good)

    def exceeds(self, folder: str) -> bool:
        """Whether so much failed in a folder that it is not gone on with."""
        failed = self._failed[folder]
        return failed >= FEWEST and failed * 100 > self._looked_at[folder] * self._percent

    def leaves(self, listing: Listing, selection: Selection) -> bool:
        """Whether a message that was not begun yet is left with its folder; it is counted then."""
        if not selection.takes(listing) or not self.exceeds(listing.ref.folder):
            return False
        self.leave(listing.ref.folder)
        return True

    def leave(self, folder: str) -> None:
        """A message that was not begun yet is left with its folder."""
        failed, looked_at = self._failed[folder], self._looked_at[folder]
        if folder not in self.left:
            self._progress.warn(
                f"{folder} is left: {failed} of {looked_at} messages failed",
                hint="see why with `sectool status`; a higher --max-failures goes on with it",
            )
        before = self.left[folder].messages if folder in self.left else 0
        self.left[folder] = LeftFolder(folder, failed, looked_at, before + 1)
