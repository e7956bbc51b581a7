"""What a report tells of the jobs it was given: a line each, and sums that stay small.

A log may hold a million messages, and mail decides on many of its words. So no message is kept
once it was counted, and of words that differ only so many are told apart.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path

from sectool import jobs
from sectool.cli.shell import plain
from sectool.cli.words import advice, retirement, verdicts
from sectool.cli.words.layout import key_name
from sectool.cli.words.verdicts import Level
from sectool.durable import explain
from sectool.errors import Interrupted, SectoolError, UsageError
from sectool.outcome import NOT_DONE, State
from sectool.plaintext import Lying, Plaintext
from sectool.summary import NeedsOldKeys, StatusSummary
from sectool.values import dataclass

DEPTH = 3
"""Directories below one that was named in which jobs are looked for."""

TOLD_APART = 2000
"""Keys, years, algorithms and reasons that are counted each on their own."""

LONGEST = 300
"""Characters of a text that is shown."""

_DIGESTS = re.compile(r"\b[0-9a-f]{64}\b")


def shown(text: str, longest: int = LONGEST) -> str:
    """A text of a stranger's without what a terminal, a browser or an eye could obey."""
    if len(text) > longest:
        text = f"{text[: longest * 2 // 3]}…{text[-longest // 3 :]}"
    return plain(text.replace("\n", " "))


class Tally(Counter[str]):
    """Counts of so many words, and one of all that came after those."""

    others = 0

    def add(self, word: str, count: int) -> None:
        """Counts a word."""
        if word in self or len(self) < TOLD_APART:
            self[word] += count
        else:
            self.others += count


@dataclass(slots=True)
class Group:
    """Messages that are not done for one reason."""

    state: State
    reason: str
    command: str
    """That mends them, as ``mending`` answers it; of several jobs that of the first."""
    messages: int = 0
    acknowledged: int = 0
    jobs: int = 0
    folders: Tally = field(default_factory=Tally)
    last_job: str = ""


Groups = dict[tuple[State | None, str], Group]
"""By state, where that matters, and reason."""


@dataclass(slots=True)
class Former:
    """Plaintext that lay somewhere before, in any of the jobs."""

    count: int = 0
    since: datetime | None = None
    seconds: float = 0.0

    def add(self, one: jobs.FormerPlaintext) -> None:
        """Takes in that of one job."""
        self.count += one.count
        if one.since is not None:
            self.since = min(self.since or one.since, one.since)
        self.seconds = max(self.seconds, one.longest.total_seconds())


@dataclass(frozen=True, slots=True)
class Line:
    """One job in a line."""

    job: str
    mailbox: str
    level: Level
    verdict: str
    next_step: str = ""
    phase: str = ""
    is_finished: bool = False
    is_running: bool = False
    last_run: str = ""
    last_exit_code: int | None = None
    ended: datetime | None = None
    messages: int = 0
    bytes: int = 0
    counts: Counter[State] = field(default_factory=Counter)
    not_done: int = 0
    acknowledged: int = 0
    waiting: int = 0
    replaced: int = 0
    needs_old_keys: int = 0
    job_data_removed: int = 0
    plaintext: Plaintext | None = None
    retired: Counter[str] | None = None
    """Old keys by their answer; None: nobody asked."""
    error: SectoolError | None = None

    @property
    def proven(self) -> int:
        """Messages that the new key has opened."""
        return self.counts[State.VERIFIED]

    @property
    def in_clear(self) -> int:
        """Checkpoints and messages of the mailbox that lie in clear."""
        lying = self.plaintext
        return 0 if lying is None else lying.checkpoints.count + lying.in_mailbox.count


@dataclass(slots=True)
class Report:
    """All that a report tells."""

    made: datetime = field(default_factory=lambda: datetime.now(UTC))
    lines: list[Line] = field(default_factory=list)
    counts: Counter[State] = field(default_factory=Counter)
    acknowledged: Counter[State] = field(default_factory=Counter)
    years: Tally = field(default_factory=Tally)
    keys: Tally = field(default_factory=Tally)
    held: set[str] = field(default_factory=set)
    """Those of ``keys`` that the key history of a job holds."""
    algorithms: Tally = field(default_factory=Tally)
    groups: Groups = field(default_factory=dict)
    """By state and reason."""
    needing: Groups = field(default_factory=dict)
    """Messages that are done, and keep a layer for which an old key is needed."""
    checkpoints: Former = field(default_factory=Former)
    in_mailbox: Former = field(default_factory=Former)
    answers: list[retirement.JobAnswers] = field(default_factory=list)
    uninspected: int = 0

    @property
    def read(self) -> list[Line]:
        """The jobs that could be read."""
        return [line for line in self.lines if line.error is None]

    @property
    def errors(self) -> list[SectoolError]:
        """Why the others could not be."""
        return [line.error for line in self.lines if line.error is not None]

    @property
    def level(self) -> Level:
        """That of the job that stands worst; a job that cannot be read stands no better."""
        order = list(Level)
        return max((line.level for line in self.lines), key=order.index, default=Level.UNREADABLE)

    @property
    def verdict(self) -> str:
        """How all the jobs stand."""
        if len(self.lines) == 1:
            return self.lines[0].verdict
        counts = Counter(line.level for line in self.lines)
        told = ", ".join(
            f"{counts[level]} {level.value}" for level in reversed(Level) if counts[level]
        )
        return f"of {len(self.lines)} jobs: {told}"

    @property
    def plaintext(self) -> Plaintext:
        """What lies in clear now, of all jobs."""
        lying = [line.plaintext for line in self.lines if line.plaintext is not None]
        return Plaintext.total(lying or [Plaintext(Lying(), Lying(), Lying(), self.made)])


def directories_of(places: Sequence[Path]) -> Iterator[Path]:
    """The job directories among these and in these, each once.

    Yields:
        As well each of these in which there is none, so that its error is told.
    """
    seen: set[tuple[int, int]] = set()
    for place in places:
        found = False
        for directory in _below(place, DEPTH):
            found = True
            if _is_new(directory, seen):
                yield directory
        if not found:
            yield place


def _is_new(directory: Path, seen: set[tuple[int, int]]) -> bool:
    try:
        status = directory.stat()
    except OSError:
        return True
    name = status.st_dev, status.st_ino
    is_new = name not in seen
    seen.add(name)
    return is_new


def _below(place: Path, depth: int) -> Iterator[Path]:
    if jobs.is_job(place):
        yield place
        return
    if depth:
        try:
            with os.scandir(place) as entries:
                names = sorted(
                    entry.name for entry in entries if entry.is_dir(follow_symlinks=False)
                )
        except OSError:
            return
        for name in names:
            yield from _below(place / name, depth - 1)


def collect(
    directories: Iterable[Path],
    trust: jobs.Trust,
    each: Callable[[StatusSummary, jobs.UnfinishedMessage], object],
    done: Callable[[Line], object],
) -> Report:
    """Reads the jobs, one after the other.

    Args:
        directories: of the jobs.
        trust: who may write to them beside root and the caller.
        each: is called with every message that is not done, and what is known of its job.
        done: is called with the line of every job.

    Raises:
        Interrupted: someone asked to stop.
    """
    report = Report()
    for directory in directories:
        line = _look(directory, trust, report, each)
        report.lines.append(line)
        done(line)
    return report


def _look(
    directory: Path,
    trust: jobs.Trust,
    report: Report,
    each: Callable[[StatusSummary, jobs.UnfinishedMessage], object],
) -> Line:
    try:
        with jobs.inspect(directory, trust) as inspection:
            for message in inspection.unfinished:
                _group(report.groups, message, inspection.summary)
                each(inspection.summary, message)
    except Interrupted:
        raise
    except SectoolError as error:
        failure = error
    except OSError as error:
        failure = explain(error, f"look at the job directory {directory}", denied=UsageError)
    else:
        return _add(report, inspection)
    report.answers.append(retirement.JobAnswers(str(directory), None))
    return Line(str(directory), "", Level.UNREADABLE, failure.message, failure.hint, error=failure)


def _group(
    groups: Groups,
    message: jobs.UnfinishedMessage | NeedsOldKeys,
    summary: StatusSummary,
) -> None:
    """Counts a message with those that are alike for the same reason."""
    reason = shown(_DIGESTS.sub("…", message.reason))
    alike = message.state if isinstance(message, jobs.UnfinishedMessage) else None
    if (alike, reason) not in groups and len(groups) >= TOLD_APART:
        reason = "other reasons"
    group = groups.get((alike, reason))
    if group is None:
        command = advice.mending(message.state, reason, summary.phase)
        group = groups[alike, reason] = Group(message.state, reason, command)
    group.messages += 1
    group.acknowledged += message.acknowledged
    group.folders.add(shown(message.folder, 80), 1)
    group.jobs += group.last_job != summary.job
    group.last_job = summary.job


def _add(report: Report, inspection: jobs.Inspection) -> Line:
    """Adds a job to the sums, and makes its line."""
    summary = inspection.summary
    report.counts.update(summary.counts)
    report.acknowledged.update(summary.acknowledged)
    report.uninspected += summary.uninspected
    for year, count in summary.years.items():
        report.years.add(year, count)
    for algorithm, count in summary.content_encryption_algorithms.items():
        report.algorithms.add(shown(algorithm, 60), count)
    for key, count in summary.keys.items():
        name = shown(key_name(key), 160)
        report.keys.add(name, count)
        if key in summary.keys_in_history and name in report.keys:
            report.held.add(name)
    for entry in summary.needs_old_keys:
        # Those that are not done need them as well.
        if entry.state not in NOT_DONE:
            _group(report.needing, entry, summary)
    report.checkpoints.add(inspection.checkpoints)
    report.in_mailbox.add(inspection.in_mailbox)
    report.answers.append(retirement.JobAnswers(summary.job, summary.retire))
    return _line(summary)


def _line(summary: StatusSummary) -> Line:
    level, verdict = verdicts.verdict(summary)
    activity = summary.activity
    retired = None
    if summary.retire is not None:
        retired = Counter(key.answer.value for key in summary.retire)
    return Line(
        job=summary.job,
        mailbox=summary.mailbox,
        level=level,
        verdict=verdict,
        next_step=advice.next_step(summary),
        phase=summary.phase,
        is_finished=summary.is_finished,
        is_running=advice.is_running(summary),
        last_run="" if activity is None else activity.operation,
        last_exit_code=None if activity is None else activity.exit_code,
        ended=None if activity is None else activity.ended,
        messages=summary.messages,
        bytes=summary.bytes,
        counts=summary.counts,
        not_done=sum(summary.counts[s] - summary.acknowledged[s] for s in NOT_DONE),
        acknowledged=summary.acknowledged.total(),
        waiting=advice.waiting(summary),
        replaced=advice.replaced(summary),
        needs_old_keys=sum(not entry.acknowledged for entry in summary.needs_old_keys),
        job_data_removed=summary.job_data_removed,
        plaintext=summary.plaintext,
        retired=retired,
    )
