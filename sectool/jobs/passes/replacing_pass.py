"""One pass of workers that make new messages, which come into the mailbox in groups.

What resealing, decrypting in place, rolling back and bringing back lost mail have in common; the
order of acts is the replacer's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

from sectool.errors import SectoolError
from sectool.joblog import Purpose
from sectool.jobs.replacing.grouping import Grouping
from sectool.jobs.replacing.replacer import Replacer
from sectool.jobs.replacing.spool import Spool
from sectool.jobs.session.session import JobSession
from sectool.jobs.work.new_message import NewFiles, NewMessage
from sectool.jobs.work.pool import AnswerT, TaskT
from sectool.jobs.work.work import ArgumentT, ContextT, NotDone, WorkKind
from sectool.progress import Progress


class ReplacingPass:
    """Replaces messages of one job.

    Args:
        on: the job, and where its mailbox is.
        purpose: of what ``replacer`` carries out.

    Attributes:
        replacer: replaces a group, or adds one.
    """

    def __init__(self, on: JobSession, purpose: Purpose = Purpose.ENCRYPT) -> None:
        self._on = on
        self._spool = Spool(on.job, on.mailbox)
        self.replacer = Replacer(on.job, on.mailbox, purpose, workers=on.workers)

    @property
    def files(self) -> NewFiles:
        """Where workers write."""
        return self._spool.files

    def sweep(self) -> None:
        """Removes what an interrupted run left half written; while nobody writes any."""
        if not self._on.dry_run:
            self._spool.sweep()

    def recover(self) -> None:
        """Ends what an interrupted run left open, after a walk that found both copies.

        Not before it is certain that this is the mailbox: what is open is given up
        where no copy of it is found.
        """
        if not self._on.dry_run:
            self.replacer.recover()

    def run(
        self,
        kind: WorkKind[ArgumentT, ContextT, TaskT, AnswerT],
        tasks: Iterable[TaskT],
        argument: ArgumentT,
        *,
        take: Callable[[TaskT, AnswerT], NewMessage],
        give_up: Callable[[TaskT, NotDone], None],
        act: Callable[[Sequence[NewMessage]], object],
        progress: Progress,
    ) -> None:
        """Does all tasks; nothing is left in the spool.

        Args:
            kind: what workers do.
            tasks: ordered by folder where the mailbox writes whole folders.
            argument: of the workers.
            take: the new message of an answer.
            give_up: told of what could not be done.
            act: brings a group into the mailbox.
            progress: told of each message, in a stage that was begun.

        Raises:
            NoSpace: disk or quota full; the same command resumes.
            Interrupted: the run was asked to stop; the same command resumes.
        """
        group = Grouping(act)
        try:
            for task, answer in kind.run(tasks, argument, workers=self._on.workers):
                self._on.cancel.check()
                progress.advance()
                if isinstance(answer, NotDone):
                    give_up(task, answer)
                else:
                    new = take(task, answer)
                    group.add(new, new.written.content.size)
            group.finish()
            self.replacer.finish()
        finally:
            self.replacer.close()
            with contextlib.suppress(SectoolError):
                self._spool.sweep()
        progress.end()
