"""Worker processes that may die without costing more than the message they worked on.

Tasks are batches, since a message is small beside the cost of sending it. A
batch whose worker died, or took too long, is done again one message at a
time, so that the guilty one is found and the others are not lost. Start
method forkserver or spawn, never fork; with no workers everything happens in
this process.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import itertools
import multiprocessing
import os
import pickle
import signal
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, TimeoutError as FutureTimeout
from contextlib import contextmanager
from multiprocessing import util
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from sectool import budget, durable
from sectool.errors import RunError, SectoolError, UnsafeDirectory, UsageError
from sectool.hardening import (
    INTERRUPTS,
    handing_over,
    harden,
    ignore_interrupts,
    isolate_children,
)
from sectool.trust import Trust
from sectool.values import dataclass

TaskT = TypeVar("TaskT", bound="Sized")
AnswerT = TypeVar("AnswerT")

BATCH_MESSAGES = 32
"""Messages sent to a worker at once."""

BATCH_BYTES = 2 * 1024 * 1024
"""Bytes of stored mail sent to a worker at once, unless one message has more."""

BATCHES_PER_WORKER = 3
"""Batches under way for each worker, so that none waits for the parent."""

BASE_TIMEOUT = 120.0
"""Seconds a batch may take, however small it is."""

SECONDS_PER_BYTE = 2e-6
"""Further seconds for each byte of stored mail: a slow disk reads 1 MB in 2 s at worst."""

STARTING = "start worker processes (--workers 0 needs none)"
"""What fails where shared memory or descriptors are short."""

_SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC})
"""What a process that cannot be started is told by."""

_LONGEST_SOCKET_DIRECTORY = 64
"""Bytes; the name of a socket has 107, and 34 of them come after the directory."""

WORKER_MEMORY = 2 * 1024**3
"""Address space of a worker in bytes: what a hostile message can take at most."""


class Sized(Protocol):
    """A task tells how many bytes of stored mail it is about."""

    @property
    def size(self) -> int:
        """Bytes."""


@dataclass(frozen=True, slots=True)
class Died:
    """The answer for a task whose worker died of it, or did not end in time."""

    reason: str


def batches(tasks: Iterable[TaskT]) -> Iterator[list[TaskT]]:
    """Groups tasks so that a batch is worth sending and not too much to lose."""
    batch: list[TaskT] = []
    size = 0
    for task in tasks:
        if batch and (len(batch) >= BATCH_MESSAGES or size + task.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(task)
        size += task.size
    if batch:
        yield batch


def run_tasks(
    work: Callable[[Any, TaskT], AnswerT],
    tasks: Iterable[TaskT],
    *,
    make_context: Callable[[Any], Any],
    context_argument: object,
    workers: int,
) -> Iterator[tuple[TaskT, AnswerT | Died]]:
    """Does every task and yields each with its answer, in no particular order.

    Args:
        work: function of a module, called with the context and a task. May
            raise nothing but what ends the whole run.
        tasks: taken as workers get free, so a generator stays lazy.
        make_context: function of a module, called once in each worker; where what it
            makes has a ``close``, that is called there at the end,
            unless a worker is ended before it comes to it; where it has a ``settle``, a worker
            hands on what that makes of the answers to a batch.
        context_argument: its argument; pickled, and the only way for secrets.
        workers: processes; 0: this one.
    """
    if workers == 0:
        context = make_context(context_argument)
        try:
            for task in tasks:
                yield task, _one(work, context, task)
        finally:
            _close(context)
        return
    waiting = batches(tasks)
    first = next(waiting, None)
    if first is None:
        # A run that finds nothing to do starts no process.
        return
    with _Pool(workers, make_context, context_argument) as pool:
        yield from pool.run(work, itertools.chain([first], waiting))


class Standing:
    """Workers that stay for more work until they are let go; the first work starts them.

    Args:
        make_context: as of ``run_tasks``.
        context_argument: likewise.
        workers: processes; 0: this one, which makes its context for each work.
    """

    def __init__(
        self, make_context: Callable[[Any], Any], context_argument: object, workers: int
    ) -> None:
        self._make = make_context
        self._argument = context_argument
        self._workers = workers
        self._pool: _Pool | None = None

    def run(
        self, work: Callable[[Any, TaskT], AnswerT], tasks: Iterable[TaskT]
    ) -> Iterator[tuple[TaskT, AnswerT | Died]]:
        """Does every task, as ``run_tasks`` does."""
        if self._workers == 0:
            yield from run_tasks(
                *(work, tasks), make_context=self._make, context_argument=self._argument, workers=0
            )
            return
        if self._pool is None:
            self._pool = _Pool(self._workers, self._make, self._argument)
        yield from self._pool.run(work, batches(tasks))

    def close(self) -> None:
        """Ends the processes."""
        if self._pool is not None:
            self._pool.stop()
            self._pool = None


class _Pool:
    def __init__(self, workers: int, make_context: Callable[[Any], Any], argument: object) -> None:
        from pebble import ProcessPool  # noqa: PLC0415  # heavy; not for --help

        methods = multiprocessing.get_all_start_methods()
        method = "forkserver" if "forkserver" in methods else "spawn"
        context = multiprocessing.get_context(method)
        isolate_children()
        self._workers = workers
        with durable.explained("find the working directory, in which workers start"):
            Path.cwd()
        with handing_over():
            pickled = pickle.dumps(argument)
        with durable.explained(STARTING, denied=RunError):
            if method == "forkserver":
                _start_server(context)
            self._pool = ProcessPool(
                max_workers=workers,
                initializer=_initialise,
                initargs=(make_context, pickled, budget.limit_factor()),
                context=context,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        # By a signal, on which a worker closes what it holds open unless it is on its way out.
        self._pool.stop()  # type: ignore[no-untyped-call]  # pebble leaves it unannotated
        self._pool.join()

    def run(
        self, work: Callable[[Any, TaskT], AnswerT], waiting: Iterator[list[TaskT]]
    ) -> Iterator[tuple[TaskT, AnswerT | Died]]:
        under_way: collections.deque[tuple[list[TaskT], Any]] = collections.deque()
        exhausted = False
        while under_way or not exhausted:
            while not exhausted and len(under_way) < self._workers * BATCHES_PER_WORKER:
                batch = next(waiting, None)
                if batch is None:
                    exhausted = True
                else:
                    under_way.append((batch, self._schedule(work, batch)))
            if under_way:
                batch, future = under_way.popleft()
                yield from self._answers(work, batch, future)

    def _schedule(self, work: Callable[[Any, TaskT], AnswerT], batch: Sequence[TaskT]) -> Any:
        timeout = BASE_TIMEOUT + SECONDS_PER_BYTE * sum(task.size for task in batch)
        try:
            with durable.explained(STARTING, denied=RunError):
                return self._pool.schedule(_do, args=(work, batch), timeout=timeout)
        except RuntimeError as error:
            raise _pool_is_gone(error) from error

    def _answers(
        self,
        work: Callable[[Any, TaskT], AnswerT],
        batch: list[TaskT],
        future: Any,  # pebble's futures are not typed
    ) -> Iterator[tuple[TaskT, AnswerT | Died]]:
        reason = self._wait(future)
        if reason is None:
            yield from zip(batch, future.result(), strict=True)
        elif len(batch) == 1:
            yield batch[0], Died(reason)
        else:
            for task in batch:
                yield from self._answers(work, [task], self._schedule(work, [task]))

    def _wait(self, future: Any) -> str | None:
        from pebble import ProcessExpired  # noqa: PLC0415

        try:
            future.result()
        except BrokenExecutor as error:
            raise _pool_is_gone(error) from error
        except ProcessExpired as error:
            return f"the worker process died of it ({_cause(error.exitcode)})"
        except FutureTimeout:
            return "it took too long"
        return None


def _pool_is_gone(error: Exception) -> SectoolError:
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _SHORT_OF:
        return durable.explain(cause, STARTING, denied=RunError)
    # A worker that is killed at its work costs one batch; one that is killed while
    # it tells the result, and the server that starts workers, cost the run.
    return RunError(
        "the worker processes were stopped by someone else",
        hint="the same command resumes; add --workers 0 to go on in one process",
    )


def _cause(exit_code: int | None) -> str:
    if exit_code is not None and -exit_code in set(signal.Signals):
        return signal.Signals(-exit_code).name
    return f"exit code {exit_code}"


# --- how the processes start -----------------------------------------------------


def _temporary_directory() -> str:
    """Where the socket of the server may lie: whoever could exchange it would be sent the keys.

    Raises:
        RunError: there is no such directory.
    """
    probe = f"sectool-{os.urandom(8).hex()}"  # what is looked up in a directory judges it
    for name in (tempfile.gettempdir(), "/tmp", "/var/tmp"):  # noqa: S108  # looked at here
        with contextlib.suppress(OSError, UnsafeDirectory, UsageError):
            way = Trust().walk(Path(name, probe))
            if way.missing == (probe,) and len(os.fsencode(way.real)) <= _LONGEST_SOCKET_DIRECTORY:
                return str(way.real)
    raise RunError(
        "cannot start worker processes: others can exchange files in the temporary directory",
        hint="set TMPDIR to a directory of your own, or add --workers 0",
    )


def _start_server(context: Any) -> None:
    """Starts the process that workers are forked from, deaf to interrupts.

    What it ignores its children ignore from their first instruction on: the
    parent alone decides what an interrupt means.
    """
    from multiprocessing import forkserver  # noqa: PLC0415  # not on Windows

    tempfile.tempdir = _temporary_directory()
    context.set_forkserver_preload(
        [f"sectool.jobs.work.{name}" for name in ("forkserver", "examine", "seal")]
    )
    with _interrupts_ignored():
        forkserver.ensure_running()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """They are ignored for the moment in which a child inherits how they are handled."""
    before = {number: signal.getsignal(number) for number in INTERRUPTS}
    try:
        ignore_interrupts()
    except ValueError:  # not the main thread: whoever runs it there handles no signals
        yield
        return
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier or signal.SIG_DFL)


# --- in the worker ---------------------------------------------------------------

_context: list[Any] = []


def _initialise(make_context: Callable[[Any], Any], pickled: bytes, factor: int) -> None:
    budget.set_limit_factor(factor)
    ignore_interrupts()
    harden(memory=WORKER_MEMORY)
    try:
        _context[:] = [make_context(pickle.loads(pickled))]  # noqa: S301  # our own parent's
        util.Finalize(None, _close, args=_context, exitpriority=1000)
    except Exception as error:  # noqa: BLE001  # raised where someone listens: by the first task
        _context[:] = [error]


def _close(context: object) -> None:
    close = getattr(context, "close", None)
    if close is not None:
        close()


def _do(work: Callable[[Any, TaskT], AnswerT], batch: Sequence[TaskT]) -> list[AnswerT]:
    (context,) = _context
    if isinstance(context, Exception):
        raise context
    answers = [_one(work, context, task) for task in batch]
    settle = getattr(context, "settle", None)
    return answers if settle is None else settle(answers)


def _one(work: Callable[[Any, TaskT], AnswerT], context: Any, task: TaskT) -> AnswerT:
    """Does the work on one message, whatever it is, within what one message may cost."""
    with budget.of_message(task.size):
        return work(context, task)
