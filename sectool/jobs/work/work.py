"""What is asked of a worker: one shape for all kinds of work, and one ladder from error to answer.

An argument travels to each worker, which makes a context of it: what it holds open, such as
the mailbox, keys and the files of a job. A task is one message; its answer is what became of
it, or that it could not be done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from sectool import durable
from sectool.errors import (
    CheckpointDamaged,
    MessageChanged,
    MessageError,
    MessageVanished,
    NoSpace,
    SectoolError,
    why_unread,
)
from sectool.jobs.work.ahead import Supplied, Supply
from sectool.jobs.work.pool import AnswerT, Died, Standing, TaskT, run_tasks
from sectool.mailbox import Access, Ahead, MessageSource, open_mailbox
from sectool.message import MessageRef
from sectool.outcome import State


class _Argument(Protocol):
    """All work is on one mailbox."""

    @property
    def mailbox(self) -> Access:
        """How it is opened."""


ArgumentT = TypeVar("ArgumentT", bound=_Argument)


@dataclass(frozen=True, slots=True)
class NotDone:
    """The answer for a message that could not be done, with its state and the reason."""

    reason: str
    state: State = State.FAILED
    error: type[SectoolError] = MessageError
    """What it was; the error itself would hold on to what was read of the message."""

    @property
    def failure_code(self) -> int:
        """Exit code of what the run is told to have failed by; 0: a failed message says enough."""
        return self.error.exit_code if issubclass(self.error, CheckpointDamaged) else 0


class MailboxContext:
    """What a worker holds open: the mailbox, until its work ends.

    Args:
        argument: says how it is opened.
    """

    def __init__(self, argument: _Argument) -> None:
        access = argument.mailbox
        self.mailbox: MessageSource = (
            Ahead()
            if access.is_of_run_alone
            else open_mailbox(access.specification, access.credentials, access.account)
        )

    def close(self) -> None:
        """Lets go of the mailbox."""
        self.mailbox.close()


ContextT = TypeVar("ContextT", bound=MailboxContext)


class _OfOneMessage(Protocol):
    """Most tasks."""

    @property
    def ref(self) -> MessageRef:
        """The message it is on."""


def reads_its_message(task: _OfOneMessage) -> Sequence[MessageRef]:
    """A task reads the message it is on."""
    return (task.ref,)


def reads_nothing(_: object) -> Sequence[MessageRef]:
    """A task reads no message of the mailbox."""
    return ()


@contextmanager
def of_one_message() -> Iterator[None]:
    """Makes whatever costs one message a ``MessageError`` or ``CheckpointDamaged`` of it.

    Raises:
        NoSpace: the disk is full, which ends the run as every other error does.
    """
    try:
        yield
    except OSError as error:
        if isinstance(told := durable.explain_unforeseen(error), NoSpace):
            raise told from error
        raise MessageError(why_unread(error)) from error
    except (MemoryError, RecursionError) as error:
        raise MessageError(why_unread(error)) from error


@dataclass(frozen=True, slots=True)
class WorkKind(Generic[ArgumentT, ContextT, TaskT, AnswerT]):
    """One kind of work; functions and classes of a module, which a worker finds by name."""

    open: Callable[[ArgumentT], ContextT]
    """Makes the context, once in each worker."""
    do: Callable[[ContextT, TaskT], AnswerT | NotDone]
    """Does a task. What it raises costs the message as ``of_one_message`` has it, or the run."""
    reads: Callable[[Any], Sequence[MessageRef]] = reads_its_message
    """The messages that a task reads."""
    most: int | None = None
    """Bytes of each that it reads; None: all."""

    def standing(self, argument: ArgumentT, *, workers: int) -> Standing:
        """Workers for work of this kind that comes again and again; arguments as of ``run``."""
        return Standing(self.open, argument, argument.mailbox.workers(workers))

    def run(
        self,
        tasks: Iterable[TaskT],
        argument: ArgumentT,
        *,
        workers: int,
        standing: Standing | None = None,
    ) -> Iterator[tuple[TaskT, AnswerT | NotDone]]:
        """Does all tasks, and yields each with its answer, in no particular order.

        Args:
            tasks: taken as workers get free, so a generator stays lazy.
            argument: pickled, and the only way for secrets.
            workers: processes, where the store lets as many in; 0: this one.
            standing: does it instead, made with the same argument.

        Raises:
            SectoolError: it concerns the whole run.
        """
        access = argument.mailbox
        workers = access.workers(workers)
        run: Callable[..., Iterator[tuple[Any, Any]]] = (
            partial(run_tasks, make_context=self.open, context_argument=argument, workers=workers)
            if standing is None
            else standing.run
        )
        if not access.is_of_run_alone:
            for task, answer in run(self._attempt, tasks):
                yield task, NotDone(answer.reason) if isinstance(answer, Died) else answer
            return
        with Supply(access, self.reads, self.most) as supply:
            for supplied, answer in run(self._attempt_supplied, supply.of(tasks)):
                yield supplied.task, NotDone(answer.reason) if isinstance(answer, Died) else answer
                supply.done(supplied)

    def _attempt_supplied(self, context: ContextT, supplied: Supplied[TaskT]) -> AnswerT | NotDone:
        context.mailbox = supplied.messages
        return self._attempt(context, supplied.task)

    def _attempt(self, context: ContextT, task: TaskT) -> AnswerT | NotDone:
        try:
            with of_one_message():
                return self.do(context, task)
        except (MessageChanged, MessageVanished) as error:
            return NotDone(error.message, State.CHANGED, type(error))
        except (MessageError, CheckpointDamaged) as error:
            return NotDone(error.message, error=type(error))
