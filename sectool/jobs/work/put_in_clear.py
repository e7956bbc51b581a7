"""What a worker does to make the plaintext copy of one stored message (``--in-place``).

Runs in any process. Nothing here renames, syncs or logs; that is the parent's. The plaintext
is that of the checkpoints alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from sectool import cms, smime
from sectool.errors import UnsupportedMessage
from sectool.joblog import IN_CLEAR, JobMessage
from sectool.jobs.work.checkpoint_access import CheckpointPlace
from sectool.jobs.work.compose_plaintext import Plaintext, PlaintextComposer, write_and_check
from sectool.jobs.work.new_message import NewFiles, NewMessage, WrittenMessage
from sectool.jobs.work.seal import SUBJECT_RESTORED
from sectool.jobs.work.stored_copy import fetch_known
from sectool.jobs.work.work import MailboxContext, WorkKind
from sectool.mailbox import Access
from sectool.message import Content
from sectool.outcome import Identity, State


@dataclass(frozen=True, slots=True)
class PlaintextArgument:
    """What a worker that makes plaintext copies is made from."""

    mailbox: Access
    checkpoints: CheckpointPlace
    files: NewFiles
    """The new messages."""
    job: str
    """Unique name of the job, for the mark of each copy."""
    restore_subject: bool = False
    """Show the protected Subject outside, too."""
    selection: smime.ClearSelection = field(default_factory=smime.ClearSelection)
    """Which encrypted parts may stand in the mailbox in clear."""


@dataclass(frozen=True, slots=True)
class PlaintextTask:
    """One message whose plaintext goes into the mailbox."""

    message: JobMessage
    again: bool
    """Whether it was replaced before, so that the present copy is no original."""

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.message.size


class PlaintextContext(MailboxContext):
    """The mailbox and the checkpoints, opened once in each worker."""

    def __init__(self, argument: PlaintextArgument) -> None:
        super().__init__(argument)
        self.checkpoints = argument.checkpoints.store()
        self.files = argument.files
        self.job = argument.job
        self.restore_subject = argument.restore_subject
        self.selection = argument.selection


def put_in_clear(context: PlaintextContext, task: PlaintextTask) -> NewMessage:
    """Makes the plaintext copy of one stored message and proves it.

    Raises:
        UnsupportedMessage: it is not to stand there in clear, as where a limit is exceeded.
        MessageError: it costs this message.
        CheckpointDamaged: likewise.
        NoSpace: the new message could not be written.
    """
    message = task.message
    stored, inventory = fetch_known(context.mailbox, message)
    # Whatever was taken: the rule is asked of how the parts stand now.
    for encrypted in inventory.parts:
        if reason := context.selection.why_left(encrypted):
            raise UnsupportedMessage(reason)
    new_file = partial(context.files.of, message.message)
    with PlaintextComposer(context.checkpoints, new_file, context.selection) as composer:
        plaintexts = {part.path: composer.compose(part) for part in message.parts}
        outer, parts, note = _encrypted(context, stored.content, inventory, plaintexts)
        mark = smime.Mark(context.job, message.message)
        content = write_and_check(new_file(), outer, parts, mark)
    return NewMessage(
        message=message.message,
        ref=message.ref,
        revision=stored.revision,
        written=WrittenMessage(content, _identity(content, nested=context.selection.nested)),
        keeps_original=not task.again,
        note=note,
    )


PUT_IN_CLEAR = WorkKind(PlaintextContext, put_in_clear)


def _encrypted(
    context: PlaintextContext,
    content: Content,
    inventory: smime.Inventory,
    plaintexts: Mapping[str, Plaintext],
) -> tuple[Content, list[smime.DecryptedPart], str]:
    """The message to write into, its parts, and what was done to its Subject."""
    note = ""
    if "" in plaintexts:
        content, note = _outer(context, content, plaintexts[""].content)
        inventory = smime.take_inventory(content) if note else inventory
    if [part.path for part in inventory.parts] != [*plaintexts]:
        raise UnsupportedMessage("more of it is encrypted than what was opened")
    return content, [plaintexts[one.path].in_place_of(one) for one in inventory.parts], note


def _identity(content: Content, *, nested: bool) -> Identity:
    """What a plaintext copy is known by, provided that nothing in it is encrypted any more."""
    inventory = smime.take_inventory(content)
    if inventory.parts or inventory.covered or inventory.state is State.UNDER_SIGNATURE:
        remedy = "" if nested else f"; {smime.TO_OPEN_NESTED}"
        raise UnsupportedMessage(f"another encrypted layer lies inside{remedy}")
    return Identity(f"{IN_CLEAR}{inventory.as_copy}")


def _outer(context: PlaintextContext, content: Content, inner: Content) -> tuple[Content, str]:
    """The stored message with the Subject it is to show, and what was done to that."""
    if context.restore_subject:
        subject = smime.protected_subject(inner, cms.ID_DATA)
        changed = None if subject is None else smime.with_protected_subject(content, subject)
        if changed is not None:
            return changed, SUBJECT_RESTORED
    return content, ""
