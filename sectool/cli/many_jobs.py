"""Where many jobs stand, a line each and a total; one that cannot be read costs only its line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import typer

from sectool import jobs
from sectool.cli import plaintext
from sectool.cli.layout import size_text, table
from sectool.cli.options import Manners
from sectool.cli.render import as_json
from sectool.cli.shell import answer, error_body, say, tell
from sectool.errors import SectoolError
from sectool.outcome import NOT_DONE, Plaintext, State, Summary


@dataclass(frozen=True, slots=True)
class _Job:
    directory: Path
    summary: Summary | None
    error: SectoolError | None = None


def show_many(directories: Sequence[Path], manners: Manners) -> NoReturn:
    """Prints the status of several jobs and ends the command.

    Args:
        directories: of the jobs.
        manners: how.

    Raises:
        typer.Exit: with 0, or the exit code of the first job that cannot be read.
    """
    found = [_look_at(directory) for directory in directories]
    total = _total([job.summary for job in found if job.summary is not None])
    if manners.json:
        documents = [_document(job) for job in found]
        counted = {"jobs": len(found), **_total_document(total)}
        answer({"format": 1, "jobs": documents, "total": counted})
    elif not manners.quiet:
        for line in _lines(found, total):
            say(line)
    errors = [job.error for job in found if job.error is not None]
    for error in errors:
        tell(error)
    raise typer.Exit(errors[0].exit_code if errors else 0)


def _look_at(directory: Path) -> _Job:
    try:
        return _Job(directory, jobs.status(directory))
    except SectoolError as error:
        return _Job(directory, None, error)


def _total(summaries: Sequence[Summary]) -> Summary:
    total = Summary(
        messages=sum(each.messages for each in summaries),
        bytes=sum(each.bytes for each in summaries),
        counts=sum((each.counts for each in summaries), Counter[State]()),
        acknowledged=sum((each.acknowledged for each in summaries), Counter[State]()),
    )
    lying = [each.plaintext for each in summaries if each.plaintext is not None]
    if lying:
        total.plaintext = Plaintext.total(lying)
    return total


def _document(job: _Job) -> dict[str, Any]:
    if job.summary is not None:
        return as_json(job.summary)
    assert job.error is not None
    return {"job": str(job.directory), "error": error_body(job.error)}


def _total_document(total: Summary) -> dict[str, Any]:
    document: dict[str, Any] = {
        "messages": total.messages,
        "bytes": total.bytes,
        "counts": {state.value: total.counts[state] for state in State if total.counts[state]},
    }
    if total.plaintext is not None:
        document["plaintext"] = plaintext.as_json(total.plaintext)
    return document


def _lines(found: Sequence[_Job], total: Summary) -> Iterable[str]:
    head = ("job", "phase", "messages", "not done", "in clear", "days")
    rows = [_row(str(job.directory), job.summary) for job in found]
    yield from table(head, [*rows, _row(f"total of {len(found)}", total)])
    if total.plaintext is not None:
        yield ""
        yield f"messages  {total.messages} ({size_text(total.bytes)})"
        yield from plaintext.as_table(total.plaintext)


def _row(name: str, summary: Summary | None) -> tuple[str, ...]:
    if summary is None:
        return (name, "unreadable", "", "", "", "")
    left = sum(summary.counts[state] - summary.acknowledged[state] for state in NOT_DONE)
    phase = ""
    if summary.phase:
        phase = f"{summary.phase}, {'finished' if summary.is_finished else 'begun'}"
    lying = summary.plaintext
    if lying is None:
        return (name, phase, str(summary.messages), str(left), "", "")
    things = lying.checkpoints.count + lying.in_mailbox.count
    days = str(lying.days) if things else ""
    return (name, phase, str(summary.messages), str(left), str(things), days)
