"""Walks a mailbox and says of each message whether there is work on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from sectool.errors import MailboxError, ReadOnlyMailbox
from sectool.jobs.session.job import Job
from sectool.jobs.session.spec import Cancel, Selection
from sectool.mailbox import Mailbox
from sectool.message import Listing
from sectool.progress import Progress

_PAGE = 256


def walk(mailbox: Mailbox, cancel: Cancel) -> Iterator[Listing]:
    """Every message of every folder, until the run is cancelled.

    A folder that was removed or renamed since the folders were told has none.
    """
    for folder in mailbox.folders():
        try:
            for listing in mailbox.walk(folder):
                cancel.check()
                yield listing
        except MailboxError:
            if folder in mailbox.folders():
                raise


def walk_again(
    mailbox: Mailbox, cancel: Cancel, was_seen: Callable[[Listing], bool]
) -> list[Listing]:
    """What a further listing shows that a walk did not.

    A message that is moved during a walk, to a folder that was listed already, is in none of
    its listings.

    Args:
        mailbox: that was walked.
        cancel: asked between messages.
        was_seen: told of each message; whether the walk knows what became of it.
    """
    return [listing for listing in walk(mailbox, cancel) if not was_seen(listing)]


def paged(listings: Iterable[Listing]) -> Iterator[list[Listing]]:
    """Listings, so many at a time as the log is asked about in one transaction.

    Outside of one SQLite locks and unlocks the file for each question.
    """
    walking = iter(listings)
    while page := list(islice(walking, _PAGE)):
        yield page


def count(mailbox: Mailbox, progress: Progress, cancel: Cancel) -> int | None:
    """How many messages a walk will find; None where nobody wants to see it."""
    return sum(1 for _ in walk(mailbox, cancel)) if progress.shows_totals else None


def check_shown(job: Job, mailbox: Mailbox) -> None:
    """Holds that a walk shows all folders in which the job has mail, before it concludes anything.

    Raises:
        ReadOnlyMailbox: the mailbox may hold mail that it does not show.
    """
    has_moved = job.mailbox not in {None, mailbox.specification.url}
    withheld = mailbox.withheld(job.log.standings.folders(), has_moved=has_moved)
    if withheld:
        raise ReadOnlyMailbox(
            f"of {len(withheld)} folders with mail of the job nothing is shown, such as"
            f" {withheld[0]}",
            hint=mailbox.passed_over_hint,
        )


FURTHER_LISTINGS = 3
"""After a walk, as long as each shows what those before it did not."""


class Selector:
    """Applies a selection, its limit included, to messages that have work on them."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._left = selection.limit

    def takes(self, listing: Listing) -> bool:
        """Whether this message is worked on; each yes counts towards the limit."""
        if self._left == 0 or not self._selection.takes(listing):
            return False
        if self._left is not None:
            self._left -= 1
        return True
