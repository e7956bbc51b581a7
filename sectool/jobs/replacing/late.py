"""Removes a copy that turned up after its message was replaced another time."""

from __future__ import annotations

from dataclasses import replace

from sectool.joblog import ReplacementRecord
from sectool.jobs.replacing.in_flight import find_copies, of_store
from sectool.jobs.work.stored_copy import CopyTask, KnownCopy, look_at_copies
from sectool.mailbox import Mailbox, Placed, Written
from sectool.message import MessageRef


def remove_late(
    mailbox: Mailbox,
    record: ReplacementRecord,
    other: MessageRef,
    identity: str,
    *,
    workers: int,
) -> None:
    """Removes one of two whole copies: the other is looked at here, and by the store once more.

    Args:
        mailbox: where they are.
        record: of what was abandoned and came late.
        other: where the copy lies that counts.
        identity: what that is known by.
        workers: processes that look at copies; 0: this one.
    """
    (late,) = find_copies(mailbox, of_store(mailbox, [record]), workers=workers)
    if late.new is None or late.new.ref == other:
        return
    look = look_at_copies(mailbox, [CopyTask(other, record.intent.size)], workers=workers)[other]
    if not isinstance(look, KnownCopy) or identity not in look.names:
        return
    intent = replace(
        record.intent,
        replaced=late.new.ref,
        revision=late.new.revision,
        digest=look.digest,
    )
    mailbox.retire([Placed(Written.as_intended(intent), other, look.revision, "")])
