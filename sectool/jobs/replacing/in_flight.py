"""Where the copies of open replacements lie: what the store finds, held against the log.

What is in flight is asked by row: where the store finds the new copy of a row, and else by the
identity that it was to have. A place alone says nothing, since a new copy may have the place of
the old one, and another mail the place that was intended.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from sectool.errors import MessageError, MessageVanished
from sectool.joblog import Purpose, ReplacementRecord
from sectool.jobs.session.job import Job
from sectool.jobs.work.stored_copy import CopyTask, KnownCopy, look_at_copies
from sectool.jobs.work.work import NotDone
from sectool.mailbox import Keeps, Mailbox, Placed, Retirement, Whereabouts
from sectool.message import MessageRef
from sectool.values import dataclass

_TWO_COPIES = "its old copy is there beside the new one, as another store left it: remove the old"

Looks = Mapping[MessageRef, KnownCopy | NotDone]


@dataclass(frozen=True, slots=True)
class FoundCopies:
    """What there is of one replacement."""

    new: Placed | None
    """Proven to be what was written, or what its owner made of it; no other row has the same."""
    old_present: bool
    unclear: MessageError | None
    """Why it cannot be told; the others say nothing then."""
    is_outdated: bool = False
    """Whether the owner edited the old copy, or put it elsewhere: the new one is made anew."""
    identity: str = ""
    """What the new copy is known by, where that is not what was written."""


def of_store(mailbox: Mailbox, records: Sequence[ReplacementRecord]) -> list[ReplacementRecord]:
    """The rows, with nothing in them that only another kind of store could read."""
    kind = mailbox.specification.kind
    return [
        record if record.store == kind else replace(record, intent=replace(record.intent, where=""))
        for record in records
    ]


def find_copies(
    mailbox: Mailbox, records: Sequence[ReplacementRecord], *, workers: int
) -> list[FoundCopies]:
    """Finds both copies of each row, in the order of the rows.

    Of several copies that may be the new one of a row the first is taken that no other row
    has: whoever made a further one, it is the walk's, as any mail is. None is removed, since
    nothing tells a copy that was made twice from one that its owner made.

    Args:
        mailbox: where they are.
        records: rows that an interrupted run left open, of ``of_store``.
        workers: processes that look at copies; 0: this one.

    Raises:
        SectoolError: a sync failed; nothing found counts as durable.
    """
    if not records:
        return []
    found = mailbox.find([record.intent for record in records])
    keeps_bytes = mailbox.capabilities.keeps is Keeps.EXACT
    tasks = [
        CopyTask(copy.ref, record.intent.size)
        for record, where in zip(records, found, strict=True)
        for copy in where.copies
        if not (keeps_bytes and copy.revision == record.intent.digest)
    ]
    looks = look_at_copies(mailbox, tasks, workers=workers)
    taken: set[MessageRef] = set()
    copies = [
        _settled(record, where, looks, taken) for record, where in zip(records, found, strict=True)
    ]
    touched = _with_touched(mailbox, records, copies, workers=workers)
    if mailbox.capabilities.retirement is not Retirement.RENAME:
        return touched
    return [_alone(record, found) for record, found in zip(records, touched, strict=True)]


def _alone(record: ReplacementRecord, found: FoundCopies) -> FoundCopies:
    """Of a store that removes an old copy only by what lies beside it: it has no way for two."""
    is_addition = record.purpose is Purpose.BRING_BACK
    if found.new is None or not found.old_present or is_addition:
        return found
    if found.new.ref == record.intent.replaced:
        return found
    return replace(found, unclear=MessageError(_TWO_COPIES))


def _settled(
    record: ReplacementRecord, where: Whereabouts, looks: Looks, taken: set[MessageRef]
) -> FoundCopies:
    new, unread, identity = None, None, ""
    for copy in where.copies:
        look = looks.get(copy.ref)
        if isinstance(look, NotDone):
            if not issubclass(look.error, MessageVanished):
                unread = MessageError(f"{copy.ref} may be its new copy: {look.reason}")
        elif copy.ref not in taken and (look is None or (identity := _known_as(record, look))):
            new = copy
            taken.add(copy.ref)
            break
    unclear = where.unclear or (unread if new is None else None)
    other = "" if identity == record.identity else identity
    return FoundCopies(new, where.old_present, unclear, identity=other)


def _known_as(record: ReplacementRecord, look: KnownCopy) -> str:
    """What a copy is known by that is the new one of a row; empty: it is another mail.

    The plaintext of a message that says of whom, when and by which name it is stays that where
    it was met, whatever its owner made of the rest of its header.
    """
    if record.identity in look.names:
        return record.identity
    _, in_clear = look.names
    is_same = in_clear and in_clear.rpartition(":")[0] == record.identity.rpartition(":")[0]
    return in_clear if is_same and record.intent.met is not None else ""


def _with_touched(
    mailbox: Mailbox,
    records: Sequence[ReplacementRecord],
    copies: list[FoundCopies],
    *,
    workers: int,
) -> list[FoundCopies]:
    """Knows an old copy that the walk met where the store finds none with its revision.

    Somebody moved it, so that it has another one, or edited it.
    """
    tasks = [
        CopyTask(record.intent.replaced, record.intent.size)
        for record, found in zip(records, copies, strict=True)
        if _is_out_of_sight(record, found)
    ]
    looks = look_at_copies(mailbox, tasks, workers=workers)
    return [
        _touched(record, found, looks.get(record.intent.replaced))
        for record, found in zip(records, copies, strict=True)
    ]


def _is_out_of_sight(record: ReplacementRecord, found: FoundCopies) -> bool:
    return (
        found.new is not None
        and not found.old_present
        and record.purpose is not Purpose.BRING_BACK
        and record.intent.replaced != found.new.ref
    )


def _touched(
    record: ReplacementRecord, found: FoundCopies, look: KnownCopy | NotDone | None
) -> FoundCopies:
    new, old, intended = found.new, record.intent.replaced, record.intent.folder
    if new is None or record.purpose is Purpose.BRING_BACK:
        return found
    is_edited = False
    if not found.old_present:
        if not isinstance(look, KnownCopy):
            return found
        original = "" if record.purpose is Purpose.ROLLBACK else record.original
        is_edited = look.digest not in {original, record.intent.revision}
        if is_edited and record.replaced not in look.names:
            return found
        intent = replace(new.written.intent, revision=look.revision)
        new = replace(new, written=replace(new.written, intent=intent))
    # Under the name that it was given it was never moved, whatever its folder is called now.
    stays = new.ref.folder == intended or (
        new.ref.folder != old.folder and new.ref.key == record.intent.where
    )
    was_moved = old.folder != intended and (new.ref == old or stays)
    return replace(found, new=new, old_present=True, is_outdated=is_edited or was_moved)


def in_flight(job: Job, mailbox: Mailbox, *, workers: int) -> dict[MessageRef, int]:
    """Where the new copies lie that an earlier run placed, or that came late, with their messages.

    For a walk, which would take them for further messages.
    """
    replacements = job.log.replacements
    records = replacements.open()
    with job.log.group():
        abandoned = replacements.abandoned()
    known = of_store(mailbox, [*records, *abandoned.values()])
    found = find_copies(mailbox, known, workers=workers)
    places = dict(_places(records, found))
    with job.log.group():
        for number, late in zip(abandoned, found[len(records) :], strict=True):
            if late.new is None or job.log.messages.at(late.new.ref) is not None:
                continue  # or another try brought it in
            message = replacements.meet_late(number, late.new.ref)
            if message is not None:
                places[late.new.ref] = message
    replacements.note_in_flight(places.values())
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
