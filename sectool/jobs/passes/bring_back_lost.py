"""Puts mail that a move lost back into the mailbox, encrypted to the new recipients."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import field

from sectool.joblog import JobMessage
from sectool.jobs.passes.replacing_pass import ReplacingPass
from sectool.jobs.passes.selection import Selector
from sectool.jobs.session.job import Job
from sectool.jobs.session.spec import Selection
from sectool.jobs.work.make_anew import MAKE_ANEW, LostArgument
from sectool.jobs.work.new_message import NewMessage, ReadCopy
from sectool.jobs.work.work import NotDone
from sectool.mailbox import NOTHING, Add
from sectool.progress import Progress
from sectool.values import dataclass

RECOVERED = "Recovered"
"""Folder for what was lost."""


def lost_messages(selection: Selection, job: Job) -> list[JobMessage]:
    """What there is to put back of a walk that ended; the selection applies to where it was."""
    selector = Selector(selection)
    return [lost for lost in job.log.replaced.lost() if selector.takes(lost.listing)]


@dataclass(slots=True)
class BroughtBack:
    """What came of it."""

    messages: int = 0
    not_brought_back: Counter[str] = field(default_factory=Counter)
    """How many were not, by reason."""
    failure_code: int = 0
    """Exit code of what is missing or damaged; 0: nothing is."""


def bring_back_lost(
    messages: Sequence[JobMessage],
    argument: LostArgument,
    replacing: ReplacingPass,
    progress: Progress,
) -> BroughtBack:
    """Adds what the walk that just ended did not find, in the folder ``Recovered``.

    Args:
        messages: of ``lost_messages``.
        argument: for whom, from what, and where to write.
        replacing: adds them.
        progress: told of each message.

    Raises:
        NoSpace: disk or quota full; the same command resumes.
        Interrupted: the run was asked to stop; the same command resumes.
    """
    brought_back = BroughtBack()
    dates = {lost.message: lost.internal_date for lost in messages}

    def add(group: Sequence[NewMessage]) -> None:
        refused = replacing.replacer.add(
            [(new, Add(RECOVERED, new.written.content, dates[new.message])) for new in group]
        )
        brought_back.messages += len(group) - len(refused)
        brought_back.not_brought_back.update(refused)

    def give_up(_: JobMessage, answer: NotDone) -> None:
        brought_back.not_brought_back[answer.reason] += 1
        brought_back.failure_code = brought_back.failure_code or answer.failure_code

    progress.begin("bring back", len(messages))
    replacing.run(
        MAKE_ANEW,
        messages,
        argument,
        take=lambda lost, made: NewMessage(
            lost.message, ReadCopy(NOTHING, ""), made, keeps_original=False
        ),
        give_up=give_up,
        act=add,
        progress=progress,
    )
    return brought_back
