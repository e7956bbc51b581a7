"""Worker processes that may die without costing more than the message they worked on.

Tasks are batches, since a message is small beside the cost of sending it. A
batch whose worker died, or took too long, is done again one message at a
time, so that the guilty one is found and the others are not lost. Start
method forkserver or spawn, never fork; with no workers everything happens in
this process.
"""

from __future__ import annotations

import collections
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from sectool import budget, durable
from sectool.crashpoints import VARIABLE
from sectool.errors import RunError

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

WORKER_MEMORY = 2 * 1024**3
"""Address space of a worker in bytes: what a hostile message can take at most."""


class Sized(Protocol):
    """A task tells how many bytes of stored mail it is about."""

    @property
    def size(self) -> int:
        """Bytes."""


@dataclass(frozen=True, slots=True)
class Died(Generic[TaskT]):
    """The answer for a task whose worker died of it, or did not end in time."""

    task: TaskT
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
) -> Iterator[AnswerT | Died[TaskT]]:
    """Does every task and yields the answers, in no particular order.

    Args:
        work: function of a module, called with the context and a task. May
            raise nothing but what ends the whole run.
        tasks: taken as workers get free, so a generator stays lazy.
        make_context: function of a module, called once in each worker.
        context_argument: its argument; pickled, and the only way for secrets.
        workers: processes; 0: this one.
    """
    if workers == 0:
        context = make_context(context_argument)
        for task in tasks:
            yield _one(work, context, task)
        return
    waiting = batches(tasks)
    first = next(waiting, None)
    if first is None:
        # A run that finds nothing to do starts no process.
        return
    with _Pool(workers, make_context, context_argument) as pool:
        yield from pool.run(work, itertools.chain([first], waiting))


class _Pool:
    def __init__(self, workers: int, make_context: Callable[[Any], Any], argument: object) -> None:
        from pebble import ProcessPool  # noqa: PLC0415  # heavy; not for --help

        methods = multiprocessing.get_all_start_methods()
        method = "forkserver" if "forkserver" in methods else "spawn"
        context = multiprocessing.get_context(method)
        if method == "forkserver":
            _start_server(context)
        self._workers = workers
        with durable.explained(STARTING):
            self._pool = ProcessPool(
                max_workers=workers,
                initializer=_initialise,
                initargs=(make_context, argument, budget.limit_factor()),
                context=context,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.stop()  # type: ignore[no-untyped-call]  # pebble leaves it unannotated
        self._pool.join()

    def run(
        self, work: Callable[[Any, TaskT], AnswerT], waiting: Iterator[list[TaskT]]
    ) -> Iterator[AnswerT | Died[TaskT]]:
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
            with durable.explained(STARTING):
                return self._pool.schedule(_do, args=(work, batch), timeout=timeout)
        except RuntimeError as error:
            raise _pool_is_gone() from error

    def _answers(
        self,
        work: Callable[[Any, TaskT], AnswerT],
        batch: list[TaskT],
        future: Any,  # pebble's futures are not typed
    ) -> Iterator[AnswerT | Died[TaskT]]:
        reason = self._wait(future)
        if reason is None:
            yield from future.result()
        elif len(batch) == 1:
            yield Died(batch[0], reason)
        else:
            for task in batch:
                yield from self._answers(work, [task], self._schedule(work, [task]))

    def _wait(self, future: Any) -> str | None:
        from pebble import ProcessExpired  # noqa: PLC0415

        try:
            future.result()
        except BrokenExecutor as error:
            raise _pool_is_gone() from error
        except ProcessExpired as error:
            return f"the worker process died of it ({_cause(error.exitcode)})"
        except FutureTimeout:
            return "it took too long"
        return None


def _pool_is_gone() -> RunError:
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


def _start_server(context: Any) -> None:
    """Starts the process that workers are forked from, deaf to interrupts and without a voice.

    What it ignores its children ignore from their first instruction on: the
    parent alone decides what an interrupt means, and it alone talks to a person
    (a worker's last words could hold plaintext).
    """
    from multiprocessing import forkserver  # noqa: PLC0415  # not on Windows

    context.set_forkserver_preload(
        [f"sectool.jobs.{name}" for name in ("running.mute", "worker.examine", "worker.seal")]
    )
    with _interrupts_ignored(), _standard_error_closed():
        forkserver.ensure_running()


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """SIGINT is ignored for the moment in which a child inherits how it is handled."""
    try:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not the main thread: whoever runs it there handles no signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)


@contextmanager
def _standard_error_closed() -> Iterator[None]:
    """Descriptor 2 leads nowhere for the moment in which a child inherits it."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed already
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


# --- in the worker ---------------------------------------------------------------

_context: list[Any] = []


def _initialise(make_context: Callable[[Any], Any], argument: object, factor: int) -> None:
    budget.set_limit_factor(factor)
    # The parent alone decides what an interrupt means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Crash points are for the parent: a worker that dies is another test.
    os.environ.pop(VARIABLE, None)
    harden(memory=WORKER_MEMORY)
    try:
        _context[:] = [make_context(argument)]
    except Exception as error:  # noqa: BLE001  # raised where someone listens: by the first task
        _context[:] = [error]


def _do(work: Callable[[Any, TaskT], AnswerT], batch: Sequence[TaskT]) -> list[AnswerT]:
    (context,) = _context
    if isinstance(context, Exception):
        raise context
    return [_one(work, context, task) for task in batch]


def _one(work: Callable[[Any, TaskT], AnswerT], context: Any, task: TaskT) -> AnswerT:
    """Does the work on one message, whatever it is, within what one message may cost."""
    with budget.of_message(task.size):
        return work(context, task)


def harden(*, memory: int | None = None) -> None:
    """No core file, no debugger of the same user, and a bound on memory (G5, G6).

    Args:
        memory: bytes of address space; None: as it is.
    """
    try:
        import resource  # noqa: PLC0415  # not on Windows
    except ImportError:  # pragma: no cover
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        bound = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    _not_dumpable()


def _not_dumpable() -> None:
    import ctypes  # noqa: PLC0415  # heavy; not for --help
    import sys  # noqa: PLC0415

    if sys.platform == "linux":
        prctl_set_dumpable = 4
        ctypes.CDLL(None, use_errno=True).prctl(prctl_set_dumpable, 0, 0, 0, 0)
