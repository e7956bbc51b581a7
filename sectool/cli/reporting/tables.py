"""The tables for a spreadsheet: CSV as RFC 4180 has it, in UTF-8.

What a mail or a mailbox says becomes no formula: a cell that a spreadsheet would take for one gets
an apostrophe before it. Control characters become question marks, as on a terminal.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import datetime
from typing import BinaryIO

from sectool import jobs
from sectool.cli.reporting.collect import Line, shown
from sectool.cli.words import advice
from sectool.outcome import State
from sectool.retirement import Answer
from sectool.summary import StatusSummary

_FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What a formula begins with; the wide ones where a spreadsheet takes East Asian text."""

LONGEST = 2000
"""Characters of a cell."""

MAILBOX_COLUMNS = (
    *("job", "mailbox", "level", "verdict", "next_step", "phase", "finished", "running"),
    *("last_run", "last_run_ended", "last_exit_code", "messages", "bytes"),
    *("replaced", "proven", "waiting", "not_done", "acknowledged", "need_old_keys"),
    *("checkpoints_in_clear", "messages_in_clear", "in_clear_since", "in_clear_days"),
    *("sealed_checkpoints", "job_data_removed"),
    *("old_keys_not_needed_here", "old_keys_unclear", "old_keys_needed", "error_code"),
    *(state.value for state in State),
)

MESSAGE_COLUMNS = (
    *("job", "mailbox", "folder", "message", "date", "size", "state", "acknowledged", "reason"),
    *("key_issuer", "key_serial_number", "key_identifier", "next_step"),
)

_KEYS = 8
"""Of one message, that are told."""


class Table:
    """Rows of cells; the first row has the names of the columns.

    Args:
        stream: where they are written to; None: nowhere.
        columns: their names.
    """

    def __init__(self, stream: BinaryIO | None, columns: Iterable[str]) -> None:
        self._stream = stream
        self.write(columns)

    def write(self, cells: Iterable[object]) -> None:
        """Writes a row."""
        if self._stream is not None:
            row = io.StringIO(newline="")
            csv.writer(row, lineterminator="\r\n").writerow(map(_cell, cells))
            self._stream.write(row.getvalue().encode())


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    text = str(value)
    is_formula = text.lstrip().startswith(_FORMULA) or text.startswith(_FORMULA)
    return shown(f"'{text}" if is_formula else text, LONGEST)


def mailbox_row(line: Line) -> Iterable[object]:
    """The cells of one job."""
    yield from (line.job, line.mailbox, line.level.value, line.verdict, line.next_step)
    if line.error is not None:
        empty = len(MAILBOX_COLUMNS) - 6 - len(State)
        yield from (*[None] * empty, line.error.exit_code, *[None] * len(State))
        return
    yield from (line.phase, line.is_finished, line.is_running)
    yield from (line.last_run, line.ended, line.last_exit_code, line.messages, line.bytes)
    yield from (line.replaced, line.proven, line.waiting, line.not_done, line.acknowledged)
    yield line.needs_old_keys
    lying = line.plaintext
    if lying is None:
        yield from [None] * 5
    else:
        yield from (lying.checkpoints.count, lying.in_mailbox.count, lying.since)
        yield from (lying.days, lying.sealed.count)
    yield line.job_data_removed
    yield from [None if line.retired is None else line.retired[answer] for answer in Answer]
    yield None
    yield from (line.counts[state] for state in State)


def message_row(summary: StatusSummary, message: jobs.UnfinishedMessage) -> Iterable[object]:
    """The cells of one message that is not done."""
    keys = message.keys[:_KEYS]
    words = advice.WHAT_TO_DO[message.state]
    command = advice.filled_in(
        advice.mending(message.state, message.reason, summary.phase), summary.mailbox, summary.job
    )
    return (
        summary.job,
        summary.mailbox,
        message.folder,
        message.ref,
        message.date,
        message.size,
        message.state.value,
        message.acknowledged,
        message.reason,
        "; ".join(key.issuer for key in keys if key.issuer),
        "; ".join(key.serial_number for key in keys if key.serial_number),
        "; ".join(key.subject_key_identifier for key in keys if key.subject_key_identifier),
        f"{words}: {command}" if command else words,
    )
