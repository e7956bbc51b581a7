"""Puts plaintexts into the mailbox in the place of encrypted messages (``--in-place``).

Only after their checkpoints are durable and logged, and from these alone. The
order of acts is that of every replacement (``replace``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sectool import cms, durable, smime
from sectool.crashpoints import crashpoint
from sectool.errors import (
    CheckpointDamaged,
    MessageChanged,
    MessageError,
    MessageVanished,
    ReadOnlyMailbox,
    SectoolError,
    UnsupportedMessage,
    UsageError,
    reason_of,
)
from sectool.joblog import IN_CLEAR, JobLog, Purpose, ReplacedMessage, SealableMessage
from sectool.jobs.checkpoints import CheckpointPlace
from sectool.jobs.examine import known_as
from sectool.jobs.failures import FailureLimit
from sectool.jobs.grouping import Grouping
from sectool.jobs.job import Job
from sectool.jobs.matching import Matcher
from sectool.jobs.pool import Died, run_tasks
from sectool.jobs.replace import NewMessage, Replacer
from sectool.jobs.seal import SUBJECT_RESTORED
from sectool.jobs.spec import Cancel, JobSpec, Operation, Selection
from sectool.jobs.spool import Spool
from sectool.jobs.walk import Selector
from sectool.mailbox import Mailbox, MailboxSpecification, open_mailbox
from sectool.message import Content, DigestingSink, FileContent, Flags, Listing
from sectool.outcome import State
from sectool.progress import Progress

_IN_PLACE = '{"in_place": true}'
"""Options of a decrypt phase that has put plaintext into the mailbox."""

AnyMessage = SealableMessage | ReplacedMessage

# --- in the worker ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlaintextArgument:
    """What a worker that makes plaintext copies is made from."""

    mailbox: MailboxSpecification
    checkpoints: CheckpointPlace
    spool: Path
    """Directory for the new messages."""
    prefix: str
    """Their names begin so, so that a later run knows them for this job's."""
    job: str
    """Unique name of the job, for the mark of each copy."""
    restore_subject: bool = False
    """Show the protected Subject outside, too."""


@dataclass(frozen=True, slots=True)
class PlaintextTask:
    """One message whose plaintext goes into the mailbox."""

    message: AnyMessage
    again: bool
    """Whether it was replaced before, so that the present copy is no original."""

    @property
    def size(self) -> int:
        """Bytes as stored."""
        return self.message.size


@dataclass(frozen=True, slots=True)
class NotInPlace:
    """A message that stays as it is, and why; ``state`` None: in whatever state it is."""

    message: int
    state: State | None
    reason: str
    failure_code: int = 0


class PlaintextContext:
    """The mailbox and the checkpoints, opened once in each worker."""

    def __init__(self, argument: PlaintextArgument) -> None:
        self.mailbox = open_mailbox(argument.mailbox)
        self.checkpoints = argument.checkpoints.store()
        self.spool = argument.spool
        self.prefix = argument.prefix
        self.job = argument.job
        self.restore_subject = argument.restore_subject


def put_in_clear(context: PlaintextContext, task: PlaintextTask) -> NewMessage | NotInPlace:
    """Makes the plaintext copy of one stored message and proves it.

    Raises:
        NoSpace: the new message could not be written.
    """
    message = task.message.message
    try:
        return _put_in_clear(context, task)
    except UnsupportedMessage as error:
        return NotInPlace(message, None, f"it stays encrypted: {error.message}")
    except (MessageChanged, MessageVanished) as error:
        return NotInPlace(message, State.CHANGED, error.message)
    except MessageError as error:
        return NotInPlace(message, State.FAILED, error.message)
    except CheckpointDamaged as error:
        return NotInPlace(message, State.FAILED, error.message, error.exit_code)
    except (OSError, MemoryError) as error:
        reason = "it needs more memory than a message may take"
        if isinstance(error, OSError):
            reason = f"it cannot be read: {reason_of(error)}"
        return NotInPlace(message, State.FAILED, reason)


def _put_in_clear(context: PlaintextContext, task: PlaintextTask) -> NewMessage:
    message = task.message
    stored = context.mailbox.fetch(message.ref)
    inventory = smime.take_inventory(stored.content)
    if message.identity not in known_as(inventory):
        raise MessageChanged("the message is not the one the job knows")
    if [part.path for part in inventory.parts] != [""]:
        raise UnsupportedMessage("only a part of it is encrypted")
    inner, inner_sha256 = _inner(context, message)
    outer, note = _outer(context, stored.content, inner)
    (part,) = (smime.take_inventory(outer) if note else inventory).parts
    path = context.spool / f"{context.prefix}{message.message}.{os.urandom(4).hex()}"
    with durable.explained("write a new message"), durable.new_file(path) as stream:
        digesting = DigestingSink(stream)
        mark = smime.Mark(context.job, message.message)
        smime.write_plaintext(outer, part, inner, digesting, mark=mark)
        crashpoint("plaintext.written")
        stream.flush()
        content = FileContent(path, known_digest=digesting.hexdigest())
        smime.check_plaintext(content, part, inner, inner_sha256=inner_sha256)
        new = smime.take_inventory(content)
    if new.parts or new.state is State.SEALED:
        raise UnsupportedMessage("another encrypted layer lies inside")
    return NewMessage(
        message=message.message,
        ref=message.ref,
        revision=stored.revision,
        content=content,
        identity=f"{IN_CLEAR}{new.plaintext_identity}",
        keeps_original=not task.again,
        note=note,
    )


def _outer(context: PlaintextContext, content: Content, inner: Content) -> tuple[Content, str]:
    """The stored message with the Subject it is to show, and what was done to that."""
    if context.restore_subject:
        subject = smime.protected_subject(inner, cms.ID_DATA)
        changed = None if subject is None else smime.with_protected_subject(content, subject)
        if changed is not None:
            return changed, SUBJECT_RESTORED
    return content, ""


def _inner(context: PlaintextContext, message: AnyMessage) -> tuple[Content, str]:
    """What was encrypted, and its SHA-256 as the log has it."""
    (known,) = (part.checkpoint for part in message.parts)
    if known.content_type != cms.ID_DATA:
        raise UnsupportedMessage("what is inside is no MIME entity")
    inner = context.checkpoints.open(known.content_digest).inner
    if inner.digest != known.inner_sha256:
        raise CheckpointDamaged(
            f"the checkpoint {known.content_digest[:16]}… is not what the job log knows",
            hint="restore it from a backup, or decrypt again with the old keys",
        )
    return inner, known.inner_sha256


# --- in the parent ------------------------------------------------------------------


def is_in_place(log: JobLog) -> bool:
    """Whether the job has put plaintext into the mailbox."""
    phase = log.phase(Operation.DECRYPT)
    return phase is not None and phase[1] == _IN_PLACE


def check_in_place(spec: JobSpec, job: Job) -> str:
    """Holds that ``--in-place`` is as the first replacement fixed it.

    Returns:
        The options of the decrypt phase as they stand.

    Raises:
        UsageError: the job was begun the other way.
    """
    if spec.restore_subject and not spec.in_place:
        raise UsageError(
            "decrypting restores a Subject only in place, where it replaces messages",
            hint="add --in-place, or give --restore-subject to `sectool encrypt`",
        )
    log = job.log
    undone = log.phase(Operation.ROLLBACK) is not None and not log.replaced.any_left()
    fixed = is_in_place(log) and not (undone and not log.replaced.any_in_clear())
    if fixed and not spec.in_place:
        raise UsageError(
            "this job decrypts in place, and this run is without --in-place",
            hint="add --in-place, or begin another job with another --job directory",
        )
    encrypted = log.phase(Operation.ENCRYPT)
    if spec.in_place and not fixed and not undone and encrypted is not None and encrypted[1]:
        raise UsageError(
            "this job has encrypted mail that it did not decrypt in place",
            hint="leave --in-place out, or begin another job with another --job directory",
        )
    return _IN_PLACE if fixed else ""


class InPlace:
    """Puts the plaintext of a job's messages into the mailbox.

    Args:
        spec: its selection counts.
        job: whose messages; its log knows which of them the walk found.
        mailbox: where they are.
        cancel: asked between messages.

    Attributes:
        failure_code: exit code of what stays encrypted or failed; 0: nothing did.
        space: in a dry run the bytes that originals and plaintext copies would take.
        leaves_work: whether messages were left out.
        failures: the folders that are left.
    """

    def __init__(self, spec: JobSpec, job: Job, mailbox: Mailbox, cancel: Cancel) -> None:
        self.failure_code = 0
        self.space = 0
        self.leaves_work = False
        done = job.log.standings.by_folder(frozenset({State.DECRYPTED}))
        self.failures = FailureLimit(spec, done)
        self._folders: dict[int, str] = {}
        self._spec = spec
        self._job = job
        self._log = job.log
        self._mailbox = mailbox
        self._cancel = cancel
        self._replacer = Replacer(job, mailbox, Purpose.DECRYPT)
        self._spool = Spool(job, mailbox)

    def check_writable(self) -> None:
        """Holds that the mailbox can be written, before hours are spent on checkpoints.

        Raises:
            ReadOnlyMailbox: it cannot.
        """
        if not self._mailbox.capabilities.writable and not self._spec.dry_run:
            raise ReadOnlyMailbox(
                f"the mailbox {self._mailbox.specification.location} cannot be written",
                hint="check its owner, mode and mount options",
            )

    def recover(self, progress: Progress) -> None:
        """Ends what an interrupted run left open, wherever both copies lie now."""
        opened = self._log.replacements.open()
        if self._spec.dry_run or all(one.purpose is not Purpose.DECRYPT for one in opened):
            return
        self._spool.sweep()
        matcher = Matcher(self._job, self._mailbox, workers=self._spec.workers, cancel=self._cancel)
        matcher.run(progress)
        self._replacer.recover()

    def run(self, progress: Progress, *, again: bool = False) -> None:
        """Replaces every message that waits for it.

        Args:
            progress: told of each message.
            again: those that are encrypted to the new recipients, not the others.

        Raises:
            NoSpace: disk or quota full; the same command resumes.
        """
        tasks = list(self._tasks(again=again))
        if self._spec.dry_run:
            self.space = sum(task.size * 2 for task in tasks)
            return
        self.failures.tell(progress)
        progress.begin("in place", len(tasks))
        try:
            self._replace(tasks, progress)
        finally:
            with contextlib.suppress(SectoolError):
                self._spool.sweep()
        progress.end()

    def _tasks(self, *, again: bool) -> Iterator[PlaintextTask]:
        selector = Selector(self._spec.selection)
        messages: Iterator[AnyMessage] = self._log.waiting.sealable(in_clear=False)
        if again:
            messages = self._log.replaced.to_decrypt()
        for message in messages:
            date = datetime.fromisoformat(message.internal_date)
            if selector.takes(Listing(message.ref, message.size, Flags(), "", date)):
                yield PlaintextTask(message, again)
            else:
                self.leaves_work = True

    def _replace(self, tasks: list[PlaintextTask], progress: Progress) -> None:
        group = Grouping(self._carry_out)
        for answer in self._answers(tasks):
            self._cancel.check()
            progress.advance()
            if isinstance(answer, NotInPlace):
                self._take_down(answer)
                continue
            group.add(answer, answer.content.size)
        group.finish()

    def _answers(self, tasks: list[PlaintextTask]) -> Iterator[NewMessage | NotInPlace]:
        argument = PlaintextArgument(
            mailbox=self._mailbox.specification,
            checkpoints=self._job.place,
            spool=self._spool.directory,
            prefix=self._spool.prefix,
            job=self._job.name,
            restore_subject=self._spec.restore_subject,
        )
        for answer in run_tasks(
            put_in_clear,
            self._unless_left(tasks),
            make_context=PlaintextContext,
            context_argument=argument,
            workers=self._spec.workers,
        ):
            if isinstance(answer, Died):
                yield NotInPlace(answer.task.message.message, State.FAILED, answer.reason)
            else:
                yield answer

    def _unless_left(self, tasks: list[PlaintextTask]) -> Iterator[PlaintextTask]:
        for task in tasks:
            message = task.message
            listing = Listing(message.ref, message.size, Flags(), "")
            # They were selected when they became tasks. Undoing has no such limit.
            if not task.again and self.failures.leaves(listing, Selection()):
                self.leaves_work = True
                continue
            self._folders[message.message] = message.ref.folder
            yield task

    def _carry_out(self, group: Sequence[NewMessage]) -> None:
        """Replaces a group; the first one fixes that this job decrypts in place."""
        if not is_in_place(self._log):
            with self._log.group():
                self._log.set_phase(Operation.DECRYPT, "begun", _IN_PLACE)
        self._replacer.carry_out(group)
        states = self._log.standings.of(new.message for new in group)
        for new in group:
            self.failures.saw(self._folders.pop(new.message), states[new.message])

    def _take_down(self, answer: NotInPlace) -> None:
        self.failure_code = self.failure_code or answer.failure_code or 3
        folder = self._folders.pop(answer.message)
        self.failures.saw(folder, answer.state or State.CHECKPOINTED)
        with self._log.group():
            if answer.state is not None:
                self._log.messages.advance(answer.message, answer.state, reason=answer.reason)
            elif self._spec.to_stage != "decrypted":
                self._log.messages.advance(answer.message, State.CHECKPOINTED, reason=answer.reason)
