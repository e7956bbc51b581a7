"""Keeps what is replaced, as it was when the new message was made of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from typing import BinaryIO

from sectool.checkpoint import OriginalToKeep
from sectool.errors import MessageChanged, MessageError
from sectool.jobs.session.job import Job
from sectool.jobs.work.new_message import NewMessage, ReadCopy
from sectool.mailbox import Mailbox, MessageSource
from sectool.message import Content, Intent, MessageRef
from sectool.outcome import MessageDigest
from sectool.sight import Sight
from sectool.values import dataclass


@dataclass(frozen=True, slots=True)
class _StoredBytes:
    """The bytes of a stored copy, read only where they are asked for."""

    source: MessageSource
    copy: ReadCopy

    @property
    def digest(self) -> str:
        return self.copy.digest

    @property
    def size(self) -> int:
        return self._content().size

    def open(self) -> BinaryIO:
        """Raises MessageChanged where it is another copy by now."""
        return self._content().open()

    def _content(self) -> Content:
        stored = self.source.fetch(self.copy.ref)
        if stored.revision != self.copy.revision:
            raise MessageChanged("it was changed while its new copy was made")
        return stored.content


@contextmanager
def _source_of(mailbox: Mailbox, refs: Sequence[MessageRef]) -> Iterator[MessageSource]:
    """What messages are read from: all of them are fetched together where that is quicker."""
    if not refs or not mailbox.access.is_of_run_alone:
        yield mailbox
        return
    with closing(mailbox.fetch_ahead(refs)) as ahead:
        yield ahead


def keep_originals(
    job: Job, mailbox: Mailbox, group: Sequence[NewMessage]
) -> tuple[list[NewMessage], list[tuple[NewMessage, MessageError]]]:
    """Keeps the copies that are to be replaced, durably.

    Args:
        job: it keeps them.
        mailbox: where they are.
        group: says what they were when they were read.

    Returns:
        Those whose copy is kept, with the last sight of it; and those whose copy is another
        one by now, or cannot be read.

    Raises:
        NoSpace: disk or quota full.
        CheckpointDamaged: an original reads back otherwise than the message.
    """
    with _source_of(mailbox, [new.ref for new in group]) as source:
        originals = [
            OriginalToKeep(
                new.old.digest, _StoredBytes(source, new.old), partial(mailbox.open_file, new.ref)
            )
            for new in group
        ]
        answer = job.originals.keep(originals)
    kept: list[NewMessage] = []
    refused: list[tuple[NewMessage, MessageError]] = []
    for new in group:
        if (error := answer.refused.get(new.old.digest)) is not None:
            refused.append((new, error))
        elif new.old.digest in answer.sights:
            kept.append(replace(new, old=_seen_again(new.old, answer.sights[new.old.digest])))
        else:
            kept.append(new)
    return kept, refused


def renew_originals(
    job: Job, mailbox: Mailbox, placed: Sequence[tuple[MessageDigest, Intent]]
) -> None:
    """Keeps anew what was damaged since a run was killed, before the last copy of it goes.

    What is replaced may be another copy by now than the original was made from; then it stays
    as it is.

    Args:
        job: it keeps them.
        mailbox: where the old copies are.
        placed: originals, with the intents of what takes the place of their messages.

    Raises:
        NoSpace: disk or quota full.
        CheckpointDamaged: an original reads back otherwise than the message.
    """
    copies = [ReadCopy(intent.replaced, intent.revision, original) for original, intent in placed]
    with _source_of(mailbox, [old.ref for old in copies]) as source:
        originals = [OriginalToKeep(old.digest, _StoredBytes(source, old)) for old in copies]
        job.originals.keep(originals)


def _seen_again(old: ReadCopy, sight: Sight | None) -> ReadCopy:
    """With the name that its original is, and no other that somebody gave it meanwhile.

    Args:
        old: as it was read.
        sight: of a file with these bytes that is an original now.
    """
    if old.sight is None or sight is None:
        return replace(old, sight=sight)
    if sight.file != old.sight.file:
        return old
    return replace(old, sight=sight._replace(links=old.sight.links + 1))
