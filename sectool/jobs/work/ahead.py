"""Fetches what tasks read before workers get them, of a mailbox that the run alone has open."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, Self

from sectool.errors import Interrupted, LoginRefused, ServerUnavailable
from sectool.jobs.work.pool import TaskT
from sectool.mailbox import Access, Ahead, Mailbox, check_stopped, patience, stopped_by
from sectool.message import MessageRef
from sectool.values import dataclass

MESSAGES = 200
"""Fetched together: at 50 ms a round trip this is 140 times as quick as one by one."""

BYTES = 16 * 1024 * 1024
"""The same, in bytes of the tasks' sizes."""


_FAILURES = 3
"""Batches that others may fail to fetch before the run fetches all of them itself."""


@dataclass(frozen=True, slots=True)
class Supplied(Generic[TaskT]):
    """A task with the messages that it reads."""

    task: TaskT
    messages: Ahead
    batch: int
    """Number of those that were fetched together."""

    @property
    def size(self) -> int:
        """Bytes that were fetched: what a server says of sizes is not believed."""
        return self.messages.size


class Supply(Generic[TaskT]):
    """The tasks of one kind of work, each with its messages.

    Where the mailbox has others that fetch, each of them fetches a batch in a thread, while
    the run works on what came before.

    Args:
        access: to the mailbox, which the run has open.
        reads: the messages of a task.
        most: bytes of each that it reads; None: all.
    """

    def __init__(
        self, access: Access, reads: Callable[[TaskT], Sequence[MessageRef]], most: int | None
    ) -> None:
        assert access.opened is not None
        self._mailbox = access.opened
        self._reads = reads
        self._most = most
        self._batches: dict[int, tuple[Ahead, set[int]]] = {}
        """What was fetched, and the tasks that are not done with it."""
        fetchers = access.opened.fetchers
        self._free: SimpleQueue[Mailbox] = SimpleQueue()
        for one in fetchers:
            self._free.put(one)
        self._threads = ThreadPoolExecutor(len(fetchers), "fetch") if fetchers else None
        self._most_under_way = len(fetchers)
        self._under_way: deque[tuple[list[TaskT], Future[Ahead]]] = deque()
        self._failures = 0
        self._is_over = False

    def of(self, tasks: Iterable[TaskT]) -> Iterator[Supplied[TaskT]]:
        """The tasks, fetched for as they are asked for.

        Raises:
            SectoolError: the mailbox cannot be read.
        """
        for batch in self._together(tasks):
            if self._threads is None:
                yield from self._supplied(batch, self._fetched_by(self._mailbox, batch))
                continue
            # With what the thread is to know of the run: its limits, and whether it goes on.
            context = contextvars.copy_context()
            future = self._threads.submit(context.run, self._fetched, batch)
            self._under_way.append((batch, future))
            if len(self._under_way) > self._most_under_way:
                yield from self._next()
        while self._under_way:
            yield from self._next()

    def _together(self, tasks: Iterable[TaskT]) -> Iterator[list[TaskT]]:
        waiting: list[TaskT] = []
        messages = size = 0
        for task in tasks:
            count = len(self._reads(task))
            if waiting and (messages + count > MESSAGES or size + task.size > BYTES):
                yield waiting
                waiting, messages, size = [], 0, 0
            waiting.append(task)
            messages += count
            size += task.size
        if waiting:
            yield waiting

    def _fetched_by(self, mailbox: Mailbox, tasks: list[TaskT]) -> Ahead:
        refs = dict.fromkeys(ref for task in tasks for ref in self._reads(task))
        return mailbox.fetch_ahead(list(refs), self._most)

    def _fetched(self, tasks: list[TaskT]) -> Ahead:
        """In a thread: what one of the others fetches."""
        goes_on = contextvars.copy_context().run

        def check() -> None:
            if self._is_over:
                raise Interrupted("nobody waits for it any more")
            goes_on(check_stopped)

        fetcher = self._free.get()
        try:
            with stopped_by(check, patience()):
                check()
                return self._fetched_by(fetcher, tasks)
        finally:
            self._free.put(fetcher)

    def _next(self) -> Iterator[Supplied[TaskT]]:
        batch, future = self._under_way[0]
        try:
            fetched = future.result()
        except (LoginRefused, ServerUnavailable):
            # Some servers let nobody in so many times. The run has its own connection, which is
            # patient, and says so where the server is away.
            fetched = self._fetched_by(self._mailbox, batch)
            self._failures += 1
            if self._failures > _FAILURES and self._threads is not None:
                self._threads.shutdown(wait=False)
                self._threads = None
        self._under_way.popleft()
        return self._supplied(batch, fetched)

    def _supplied(self, tasks: list[TaskT], fetched: Ahead) -> Iterator[Supplied[TaskT]]:
        number = len(self._batches) and max(self._batches) + 1
        self._batches[number] = fetched, {id(task) for task in tasks}
        for task in tasks:
            mine = {ref: fetched.copies[ref] for ref in self._reads(task)}
            yield Supplied(task, Ahead(mine), number)

    def done(self, supplied: Supplied[TaskT]) -> None:
        """Lets go of what was fetched for a task, once the others of its batch are done, too."""
        fetched, tasks = self._batches[supplied.batch]
        tasks.discard(id(supplied.task))
        if not tasks:
            fetched.close()
            del self._batches[supplied.batch]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over = True
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for _, future in self._under_way:
            if not future.cancelled() and future.exception() is None:
                future.result().close()
        self._under_way.clear()
        for fetched, _ in self._batches.values():
            fetched.close()
        self._batches.clear()
