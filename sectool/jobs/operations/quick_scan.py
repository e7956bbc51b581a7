"""``scan --quick``: says from the heads of messages how much of a mailbox is surely encrypted."""

from __future__ import annotations

from collections.abc import Iterator

from sectool.jobs.passes.selection import Selector, walk
from sectool.jobs.passes.tally import count_not_selected
from sectool.jobs.session.session import Session
from sectool.jobs.session.spec import QuickScan
from sectool.jobs.work.glance import GlanceArgument, Glances, glance_at_all
from sectool.keys import KeyHistory, recipient_of
from sectool.message import Listing
from sectool.outcome import RecipientKey, State
from sectool.summary import Summary


def quick_scan(spec: QuickScan, session: Session) -> Summary:
    """Counts what the head of each selected message says, and nothing that it does not.

    The mailbox is listed once: a message that is moved meanwhile may count twice, or not.
    """
    mailbox = session.mailbox(spec, spec.mailbox)
    session.tell_passed_over(mailbox)
    keys = session.any_history(spec.keys)
    progress, cancel = session.progress, session.cancel
    url = mailbox.specification.url
    summary = Summary(mailbox=url, phase=spec.operation, access=spec.account.words)
    selector = Selector(spec.selection)
    seen = Glances()

    def selected() -> Iterator[Listing]:
        for listing in walk(mailbox, cancel):
            if selector.takes(listing):
                yield listing
            else:
                count_not_selected(summary, listing)

    progress.begin("quick look", None)
    argument = GlanceArgument(mailbox.access)
    for answer in glance_at_all(selected(), argument, workers=spec.workers):
        progress.advance(answer.folders.total())
        cancel.check()
        seen.add(answer)
    progress.end()
    _count(summary, seen, keys)
    return summary


def _count(summary: Summary, seen: Glances, keys: KeyHistory | None) -> None:
    messages = seen.folders.total()
    summary.messages += messages
    summary.bytes += seen.bytes
    summary.folders += seen.folders
    summary.counts[State.ENCRYPTED] += seen.encrypted
    summary.counts[State.NOT_READ] += messages - seen.encrypted
    summary.content_encryption_algorithms += seen.content_encryption_algorithms
    for identifier, count in seen.recipients.items():
        key = RecipientKey("", "", "") if identifier is None else recipient_of(identifier)
        summary.keys[key] = summary.keys.get(key, 0) + count
        if identifier is not None and keys is not None and keys.holds(identifier):
            summary.keys_in_history.add(key)
