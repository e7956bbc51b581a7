"""Puts plaintexts into the mailbox in the place of encrypted messages (``--in-place``).

Only after their checkpoints are durable and logged. The order of acts is that of every
replacement (``replacer``).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from sectool.errors import LimitExceeded, UnsupportedMessage, UsageError
from sectool.joblog import JobLog, Purpose
from sectool.jobs.passes.failure_limit import FailureLimit
from sectool.jobs.passes.match import Matcher
from sectool.jobs.passes.preflight import space_to_replace
from sectool.jobs.passes.replacing_pass import ReplacingPass
from sectool.jobs.passes.selection import Selector
from sectool.jobs.replacing.grouping import in_order, space_to_rewrite
from sectool.jobs.session.job import Job
from sectool.jobs.session.session import JobSession
from sectool.jobs.session.spec import Decrypt, Operation, Selection
from sectool.jobs.work.new_message import NewMessage
from sectool.jobs.work.put_in_clear import (
    PUT_IN_CLEAR,
    PlaintextArgument,
    PlaintextTask,
)
from sectool.jobs.work.work import NotDone
from sectool.outcome import State
from sectool.progress import Progress
from sectool.smime import ClearSelection


def _choices(of: Decrypt | ClearSelection) -> dict[str, bool]:
    """What may be opened in place beside whole messages, by the names of the options."""
    return {"nested": of.nested, "wrapped": of.wrapped}


def is_in_place(log: JobLog) -> bool:
    """Whether the job has put plaintext into the mailbox."""
    return bool(_options(log).get("in_place"))


def clear_selection(log: JobLog) -> ClearSelection:
    """Which parts' plaintext the job has put into the mailbox, or may have."""
    options = _options(log)
    return ClearSelection(bool(options.get("nested")), bool(options.get("wrapped")))


def _options(log: JobLog) -> dict[str, bool]:
    phase = log.phase(Operation.DECRYPT)
    return dict(json.loads(phase[1])) if phase is not None and phase[1] else {}


def _as_text(options: dict[str, bool]) -> str:
    return json.dumps(options, sort_keys=True) if options else ""


def check_options(spec: Decrypt) -> None:
    """Holds that options that mean something in place only, or cannot there, are given so.

    Raises:
        UsageError: they are not.
    """
    if spec.shared and spec.in_place:
        raise UsageError(
            "what is put in clear is there for all who read the mailbox, whoever could read it",
            hint="leave out --in-place, or --shared",
        )
    if spec.restore_subject and not spec.in_place:
        raise UsageError(
            "decrypting restores a Subject only in place, where it replaces messages",
            hint="add --in-place, or give --restore-subject to `sectool encrypt`",
        )
    for name, is_chosen in _choices(spec).items():
        if is_chosen and not spec.in_place:
            raise UsageError(
                f"{name} mail is always decrypted into checkpoints, and put in clear only in place",
                hint=f"add --in-place, or leave --{name} out",
            )


def check_in_place(spec: Decrypt, job: Job) -> str:
    """Holds that ``--in-place`` and its kin are as the first replacement fixed them.

    A job in place may begin to open nested or wrapped mail later, but not cease to.

    Returns:
        The options of the decrypt phase as they stand.

    Raises:
        UsageError: the job was begun the other way.
    """
    log = job.log
    undone = log.phase(Operation.ROLLBACK) is not None and not log.replaced.any_left()
    fixed = is_in_place(log) and not (undone and not log.replaced.any_in_clear())
    if fixed and not spec.in_place:
        raise UsageError(
            "this job decrypts in place, and this run is without --in-place",
            hint="add --in-place, or begin another job with another --job directory",
        )
    chosen = _choices(spec)
    for name, is_fixed in _choices(clear_selection(log)).items():
        if fixed and is_fixed and not chosen[name]:
            raise UsageError(
                f"this job opens {name} mail in place, and this run is without --{name}",
                hint=f"add --{name}, or begin another job with another --job directory",
            )
    encrypted = log.phase(Operation.ENCRYPT)
    if spec.in_place and not fixed and not undone and encrypted is not None and encrypted[1]:
        raise UsageError(
            "this job has encrypted mail that it did not decrypt in place",
            hint="leave --in-place out, or begin another job with another --job directory",
        )
    return _as_text(_options(log)) if fixed else ""


class InPlace:
    """Puts the plaintext of a job's messages into the mailbox.

    Args:
        on: the job, whose log knows which of its messages the walk found; its selection counts.
        selection: what is opened beside whole messages, and what the job has opened so before.
        restore_subject: show the protected Subject outside, too.
        max_failures: percent of a folder's messages that may fail before the folder is left.
        again: those that are encrypted to the new recipients, not the others.

    Attributes:
        failure_code: exit code of what stays encrypted or failed; 0: nothing did.
        space: in a dry run the bytes that originals and plaintext copies would take.
        rehearsed: in a dry run the messages that would be replaced.
        leaves_work: whether messages were left out.
        failures: the folders that are left.
    """

    def __init__(
        self,
        on: JobSession,
        *,
        selection: ClearSelection | None = None,
        restore_subject: bool = False,
        max_failures: int = 100,
        again: bool = False,
    ) -> None:
        self.failure_code = 0
        self.space = 0
        self.rehearsed = 0
        self.leaves_work = False
        job, mailbox = on.job, on.mailbox
        done = job.log.standings.of_all(frozenset({State.DECRYPTED}))
        self.failures = FailureLimit(on.failure_percent(max_failures), done)
        self._folders: dict[int, str] = {}
        self._staying: Counter[str] = Counter()
        """Why messages that were in clear before, or might have been, stay encrypted."""
        self._chosen = selection or ClearSelection()
        self._restore_subject = restore_subject
        self._again = again
        self._dry_run = on.dry_run
        self._selection = on.selection
        self._workers = on.workers
        self._job = job
        self._log = job.log
        self._mailbox = mailbox
        self._cancel = on.cancel
        self._replacing = ReplacingPass(on, Purpose.DECRYPT)

    @property
    def _clear_selection(self) -> ClearSelection:
        """Also as the log has it: undoing gives back what was there."""
        fixed = clear_selection(self._log)
        return ClearSelection(
            nested=self._chosen.nested or fixed.nested,
            wrapped=self._chosen.wrapped or fixed.wrapped,
        )

    def recover(self, progress: Progress) -> None:
        """Ends what an interrupted run left open, wherever both copies lie now."""
        opened = self._log.replacements.open()
        if self._dry_run or all(one.purpose is not Purpose.DECRYPT for one in opened):
            return
        self._replacing.sweep()
        matcher = Matcher(self._job, self._mailbox, workers=self._workers, cancel=self._cancel)
        matcher.run(progress)
        self._replacing.recover()

    def run(self, progress: Progress) -> None:
        """Replaces every message that waits for it.

        Raises:
            NoSpace: disk or quota full; the same command resumes.
        """
        tasks = list(self._tasks())
        if self._dry_run:
            self.rehearsed = len(tasks)
            self.space = sum(space_to_replace(task.size) for task in tasks)
            replaced = [task.message for task in tasks]
            self.space += space_to_rewrite(self._mailbox, replaced)
            return
        self.failures.tell(progress)
        progress.begin("in place", len(tasks))
        self._replacing.run(
            PUT_IN_CLEAR,
            self._unless_left(tasks),
            self._argument(),
            take=lambda _, new: new,
            give_up=self._take_down,
            act=self._carry_out,
            progress=progress,
        )
        for reason, messages in self._staying.items():
            progress.warn(f"{messages} messages are not put back in clear: {reason}")

    def _tasks(self) -> Iterator[PlaintextTask]:
        selector = Selector(self._selection)
        waiting, replaced = self._log.waiting, self._log.replaced
        messages = replaced.to_decrypt() if self._again else waiting.sealable(in_clear=False)
        for message in in_order(self._mailbox, messages):
            if selector.takes(message.listing):
                yield PlaintextTask(message, self._again)
            else:
                self.leaves_work = True

    def _argument(self) -> PlaintextArgument:
        return PlaintextArgument(
            mailbox=self._mailbox.access,
            checkpoints=self._job.place,
            files=self._replacing.files,
            job=self._job.name,
            restore_subject=self._restore_subject,
            selection=self._clear_selection,
        )

    def _unless_left(self, tasks: list[PlaintextTask]) -> Iterator[PlaintextTask]:
        for task in tasks:
            message = task.message
            listing = message.listing
            # They were selected when they became tasks. Undoing has no such limit.
            if not self._again and self.failures.leaves(listing, Selection()):
                self.leaves_work = True
                continue
            self._folders[message.message] = message.ref.folder
            yield task

    def _carry_out(self, group: Sequence[NewMessage]) -> None:
        """Replaces a group; the first one fixes how this job decrypts in place."""
        selection = self._clear_selection
        chosen = {name: True for name, is_chosen in _choices(selection).items() if is_chosen}
        options = {"in_place": True, **chosen}
        if _options(self._log) != options:
            with self._log.group():
                self._log.set_phase(Operation.DECRYPT, "begun", _as_text(options))
        self._replacing.replacer.carry_out(group)
        states = self._log.standings.of(new.message for new in group)
        for new in group:
            self.failures.saw(self._folders.pop(new.message), states[new.message])

    def _take_down(self, task: PlaintextTask, answer: NotDone) -> None:
        self.failure_code = self.failure_code or answer.failure_code or 3
        state, reason = answer.state, answer.reason
        stays = issubclass(answer.error, (UnsupportedMessage, LimitExceeded))
        if stays:
            # It is what it was, and only cannot stand there in clear.
            state, reason = State.CHECKPOINTED, f"it stays encrypted: {reason}"
        message = task.message.message
        self.failures.saw(self._folders.pop(message), state)
        if stays and self._again:
            # That is no failure that a list of these would show.
            self._staying[reason] += 1
            return
        with self._log.group():
            self._log.messages.advance(message, state, reason=reason)
