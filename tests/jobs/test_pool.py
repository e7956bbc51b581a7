"""The pool: a worker that dies costs the message it worked on, and nothing else (F07, F13)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from sectool import crashpoints
from sectool.errors import NoSpace
from sectool.jobs.work import pool
from tests.support import pool_work
from tests.support.pool_work import Task


def run(
    tasks: list[Task], *, workers: int = 2, argument: object = "context"
) -> list[tuple[Task, object]]:
    answers = pool.run_tasks(
        pool_work.work,
        tasks,
        make_context=pool_work.context,
        context_argument=argument,
        workers=workers,
    )
    return list(answers)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_every_task_is_answered_once(workers: int) -> None:
    answers = run([Task(number) for number in range(100)], workers=workers)
    assert all(answer == (task.number, "context") for task, answer in answers)
    assert sorted(task.number for task, _ in answers) == list(range(100))


def test_a_worker_that_dies_costs_only_its_own_task() -> None:
    tasks = [Task(number, deed="die" if number == 17 else "") for number in range(80)]
    answers = run(tasks)
    ((task, died),) = [one for one in answers if isinstance(one[1], pool.Died)]
    assert task.number == 17
    assert isinstance(died, pool.Died)
    assert "SIGKILL" in died.reason
    assert len(answers) == 80


def test_a_task_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "BASE_TIMEOUT", 1.0)
    answers = {task.number: answer for task, answer in run([Task(1, deed="hang"), Task(2)])}
    assert answers[2] == (2, "context")
    assert isinstance(answers[1], pool.Died)


def test_a_run_without_tasks_starts_no_worker() -> None:
    # A context that cannot be made would be raised by the first one.
    assert run([], argument="broken") == []


def test_what_ends_the_run_is_raised() -> None:
    with pytest.raises(NoSpace, match="the answer"):
        run([Task(1), Task(2, deed="fail")])


def test_a_context_that_cannot_be_made_is_raised() -> None:
    with pytest.raises(NoSpace, match="context"):
        run([Task(1)], argument="broken")


def test_tasks_are_taken_as_workers_get_free() -> None:
    taken: list[int] = []

    def endless() -> Iterator[Task]:
        number = 0
        while True:
            taken.append(number)
            yield Task(number)
            number += 1

    answers = pool.run_tasks(
        pool_work.work,
        endless(),
        make_context=pool_work.context,
        context_argument=None,
        workers=2,
    )
    assert next(answers) == (Task(0), (0, None))
    assert len(taken) <= pool.BATCH_MESSAGES * (2 * pool.BATCHES_PER_WORKER + 1) + 1
    answers.close()  # type: ignore[attr-defined]


def test_batches_hold_few_messages_and_few_bytes() -> None:
    small = list(pool.batches(Task(number) for number in range(100)))
    assert [len(batch) for batch in small] == [32, 32, 32, 4]
    large = list(pool.batches(Task(number, size=pool.BATCH_BYTES) for number in range(3)))
    assert [len(batch) for batch in large] == [1, 1, 1]


def test_workers_leave_no_core_and_have_bounded_memory_and_no_crash_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(crashpoints, "_hooks", [print])
    ((_, facts),) = pool.run_tasks(
        pool_work.about_the_worker,
        [Task(1)],
        make_context=pool_work.context,
        context_argument=None,
        workers=1,
    )
    assert isinstance(facts, dict)
    assert facts["core"] == (0, 0)
    assert facts["memory"] == pool.WORKER_MEMORY
    assert facts["interrupts"] == signal.SIG_IGN
    assert facts["crash points"] is False
    assert facts["process"] != os.getpid()


def test_workers_are_mute_also_where_their_server_had_to_be_started_again() -> None:
    from multiprocessing import forkserver

    def facts() -> dict[str, object]:
        ((_, told),) = pool.run_tasks(
            pool_work.about_the_worker,
            [Task(1)],
            make_context=pool_work.context,
            context_argument=None,
            workers=1,
        )
        assert isinstance(told, dict)
        return told

    before = facts()
    assert before["standard error"] == os.devnull
    server = before["server"]
    assert isinstance(server, int)
    os.kill(server, signal.SIGKILL)
    os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
    # Without the precautions of a run: as the standard library does it by itself.
    forkserver.ensure_running()
    after = facts()
    assert after["server"] != server
    assert (after["standard error"], after["interrupts"]) == (os.devnull, signal.SIG_IGN)
    # And closed to others before the first worker knows a secret.
    assert before["inherited"] == after["inherited"] == {"dumpable": 0, "core": (0, 0)}
