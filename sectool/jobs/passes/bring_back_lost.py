"""Puts mail that a move lost back into the mailbox, encrypted to the new recipients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sectool.joblog import JobMessage
from sectool.jobs.passes.selection import Selector
from sectool.jobs.replacing.grouping import Grouping
from sectool.jobs.replacing.replacer import Replacer
from sectool.jobs.session.job import Job
from sectool.jobs.session.spec import Cancel, Selection
from sectool.jobs.work.make_anew import MAKE_ANEW, LostArgument
from sectool.jobs.work.new_message import NewMessage, WrittenMessage
from sectool.jobs.work.work import NotDone
from sectool.mailbox import NOTHING, Add
from sectool.progress import Progress

RECOVERED = "Recovered"
"""Folder for what was lost."""


def lost_messages(selection: Selection, job: Job) -> list[JobMessage]:
    """What there is to put back of a walk that ended; the selection applies to where it was."""
    selector = Selector(selection)
    return [lost for lost in job.log.replaced.lost() if selector.takes(lost.listing)]


@dataclass(slots=True)
class Restored:
    """What came of it."""

    messages: int = 0
    not_restored: Counter[str] = field(default_factory=Counter)
    """How many were not, by reason."""
    failure_code: int = 0
    """Exit code of what is missing or damaged; 0: nothing is."""


def restore_lost(
    messages: Sequence[JobMessage],
    argument: LostArgument,
    replacer: Replacer,
    *,
    workers: int,
    progress: Progress,
    cancel: Cancel,
) -> Restored:
    """Adds what the walk that just ended did not find, in the folder ``Recovered``.

    Args:
        messages: of ``lost_messages``.
        argument: for whom, from what, and where to write.
        replacer: adds them.
        workers: processes; 0: this one.
        progress: told of each message.
        cancel: asked between messages.

    Raises:
        NoSpace: disk or quota full; the same command resumes.
        Interrupted: the run was asked to stop; the same command resumes.
    """
    restored = Restored()
    progress.begin("restore", len(messages))

    def add(group: Sequence[tuple[JobMessage, WrittenMessage]]) -> None:
        refused = replacer.add([_entry(*one) for one in group])
        restored.messages += len(group) - len(refused)
        restored.not_restored.update(refused)

    group = Grouping(add)
    for message, answer in MAKE_ANEW.run(messages, argument, workers=workers):
        cancel.check()
        progress.advance()
        if isinstance(answer, NotDone):
            restored.not_restored[answer.reason] += 1
            restored.failure_code = restored.failure_code or answer.failure_code
            continue
        group.add((message, answer), answer.content.size)
    group.finish()
    progress.end()
    return restored


def _entry(message: JobMessage, written: WrittenMessage) -> tuple[NewMessage, Add]:
    new = NewMessage(message.message, NOTHING, "", written, keeps_original=False)
    return new, Add(RECOVERED, written.content, message.internal_date)
