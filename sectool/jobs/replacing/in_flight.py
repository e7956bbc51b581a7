"""Where the copies of open replacements lie: what the store finds, held against the log.

What is in flight is asked by row: where the store finds the new copy of a row, and else by the
identity that it was to have. A place alone says nothing, since a new copy may have the place of
the old one, and another mail the place that was intended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sectool.errors import MessageError, MessageVanished
from sectool.joblog import Purpose, ReplacementRecord
from sectool.jobs.session.job import Job
from sectool.jobs.work.stored_copy import CopyTask, KnownCopy, look_at_copies
from sectool.jobs.work.work import NotDone
from sectool.mailbox import Keeps, Mailbox, Placed, Whereabouts
from sectool.message import MessageRef

Looks = Mapping[MessageRef, KnownCopy | NotDone]


@dataclass(frozen=True, slots=True)
class FoundCopies:
    """What there is of one replacement."""

    new: Placed | None
    """Proven to be what was written; no other row has the same one."""
    old_present: bool
    unclear: MessageError | None
    """Why it cannot be told; the others say nothing then."""


def find_copies(
    mailbox: Mailbox, records: Sequence[ReplacementRecord], *, workers: int
) -> list[FoundCopies]:
    """Finds both copies of each row, in the order of the rows.

    Of several copies that may be the new one of a row the first is taken that no other row
    has: whoever made a further one, it is the walk's, as any mail is. None is removed, since
    nothing tells a copy that was made twice from one that its owner made.

    Args:
        mailbox: where they are.
        records: rows that an interrupted run left open.
        workers: processes that look at copies; 0: this one.

    Raises:
        SectoolError: a sync failed; nothing found counts as durable.
    """
    if not records:
        return []
    found = mailbox.find([record.intent for record in records])
    looks: Looks = {}
    if mailbox.capabilities.keeps is not Keeps.EXACT:
        tasks = [
            CopyTask(copy.ref, record.intent.size)
            for record, where in zip(records, found, strict=True)
            for copy in where.copies
        ]
        looks = look_at_copies(mailbox, tasks, workers=workers)
    taken: set[MessageRef] = set()
    copies = [
        _settled(record, where, looks, taken) for record, where in zip(records, found, strict=True)
    ]
    return _with_moved(mailbox, records, copies, workers=workers)


def _settled(
    record: ReplacementRecord, where: Whereabouts, looks: Looks, taken: set[MessageRef]
) -> FoundCopies:
    new, unread = None, None
    for copy in where.copies:
        look = looks.get(copy.ref)
        if isinstance(look, NotDone):
            if not issubclass(look.error, MessageVanished):
                unread = MessageError(f"{copy.ref} may be its new copy: {look.reason}")
        elif copy.ref not in taken and (look is None or record.identity in look.names):
            new = copy
            taken.add(copy.ref)
            break
    unclear = where.unclear or (unread if new is None else None)
    return FoundCopies(new, where.old_present, unclear)


def _with_moved(
    mailbox: Mailbox,
    records: Sequence[ReplacementRecord],
    copies: list[FoundCopies],
    *,
    workers: int,
) -> list[FoundCopies]:
    """Knows an old copy that the walk met elsewhere, where its revision is another one now.

    By the bytes of the original that was kept: what differs in a header alone is somebody's work.
    """
    gone = [
        record
        for record, found in zip(records, copies, strict=True)
        if found.new is not None
        and not found.old_present
        and record.purpose is not Purpose.BRING_BACK
        and record.original
        and record.intent.replaced != found.new.ref
    ]
    tasks = [CopyTask(record.intent.replaced, record.intent.size) for record in gone]
    looks = look_at_copies(mailbox, tasks, workers=workers)
    return [
        _moved(record, found, looks.get(record.intent.replaced))
        for record, found in zip(records, copies, strict=True)
    ]


def _moved(
    record: ReplacementRecord, found: FoundCopies, look: KnownCopy | NotDone | None
) -> FoundCopies:
    if found.new is None or found.old_present or not isinstance(look, KnownCopy):
        return found
    if record.original != look.digest:
        return found
    intent = replace(found.new.written.intent, revision=look.revision)
    written = replace(found.new.written, intent=intent)
    return replace(found, new=replace(found.new, written=written), old_present=True)


def in_flight(job: Job, mailbox: Mailbox, *, workers: int) -> dict[MessageRef, int]:
    """Where the new copies lie that an earlier run placed, or that came late, with their messages.

    For a walk, which would take them for further messages.
    """
    replacements = job.log.replacements
    records = replacements.open()
    with job.log.group():
        abandoned = replacements.abandoned()
    found = find_copies(mailbox, [*records, *abandoned.values()], workers=workers)
    places = dict(_places(records, found))
    with job.log.group():
        for number, late in zip(abandoned, found[len(records) :], strict=True):
            if late.new is None or job.log.messages.at(late.new.ref) is not None:
                continue  # or another try brought it in
            message = replacements.meet_late(number, late.new.ref)
            if message is not None:
                places[late.new.ref] = message
    return places


def _places(
    records: Sequence[ReplacementRecord], found: Sequence[FoundCopies]
) -> Iterator[tuple[MessageRef, int]]:
    for record, copies in zip(records, found, strict=False):
        old = record.intent.replaced
        if copies.new is not None and copies.new.ref == old and copies.old_present:
            continue  # it lies beside, and at this place is the old one
        if copies.new is not None:
            yield copies.new.ref, record.message
        elif copies.unclear is not None and record.intent.met is not None:
            yield record.intent.met, record.message
