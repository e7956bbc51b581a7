"""``sectool keys``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sectool.cli import options
from sectool.cli.options.account import AccountOptions
from sectool.cli.options.paths import path_argument
from sectool.cli.shell import answer, envelope, report
from sectool.cli.words.layout import fact, table, wrapped

if TYPE_CHECKING:
    from sectool.keys import HistoryEntry, KeyHistory
    from sectool.summary import Summary

EXAMPLE = "Example: sectool keys ~/keys --passphrase-file pass.txt --mailbox ~/Maildir"

Paths = Annotated[
    list[Path],
    path_argument(metavar="PATH...", help="Key files, directories of them, or pkcs11: URIs."),
]
OfMailbox = Annotated[
    str | None,
    typer.Option("--mailbox", metavar="MAILBOX", help="Count the messages that need each key."),
]


def keys(
    paths: Paths,
    *,
    mailbox: OfMailbox = None,
    passphrases: options.PassphraseOptions,
    account: AccountOptions,
    workers: options.Workers = None,
    limit_factor: options.LimitFactor = 1,
    manners: options.Manners,
) -> None:
    """Show every key of a key history, and what could not be read."""
    from sectool import jobs
    from sectool.budget import limits_times
    from sectool.cli.session import passphrase_prompt, run_job
    from sectool.hardening import harden
    from sectool.keys import load_key_history

    harden()
    with limits_times(limit_factor):
        history = load_key_history(passphrases.of(paths), passphrase_prompt())
    needed = None
    if mailbox is not None:
        spec = jobs.Scan(
            mailbox=mailbox,
            workers=options.worker_processes(workers),
            limit_factor=limit_factor,
        )
        needed = run_job(account.at_account(spec), manners)
    _show(history, needed, manners)


def _show(history: KeyHistory, needed: Summary | None, manners: options.Manners) -> None:
    if manners.json:
        answer({**envelope(0), **_document(history, needed)})
    elif not manners.quiet:
        report(_lines(history, needed))


def _messages(entry: HistoryEntry, needed: Summary) -> int:
    from sectool.outcome import RecipientKey

    names = [RecipientKey("", "", entry.subject_key_identifier)]
    if entry.has_certificate:
        names.append(RecipientKey(entry.issuer, entry.serial_number, ""))
    return sum(needed.keys.get(name, 0) for name in names)


def _document(history: KeyHistory, needed: Summary | None) -> dict[str, Any]:
    return {
        "keys": [
            {
                "file": str(entry.source),
                "algorithm": entry.algorithm,
                "subject": entry.subject,
                "issuer": entry.issuer,
                "serial_number": entry.serial_number,
                "subject_key_identifier": entry.subject_key_identifier,
                "not_before": entry.not_before and entry.not_before.isoformat(),
                "not_after": entry.not_after and entry.not_after.isoformat(),
                "fingerprint": entry.fingerprint,
                "has_certificate": entry.has_certificate,
                **({} if needed is None else {"messages": _messages(entry, needed)}),
            }
            for entry in history.entries
        ],
        "problems": [
            {
                "file": str(problem.path),
                "reason": problem.reason,
                "hint": problem.hint,
                "kind": problem.kind.value,
            }
            for problem in history.problems
        ],
    }


def _lines(history: KeyHistory, needed: Summary | None) -> Iterator[str]:
    from sectool.keys import ProblemKind

    head = ["key", "algorithm", "valid from", "until", "file"]
    rows = [
        [
            str(number),
            entry.algorithm,
            _day(entry.not_before),
            _day(entry.not_after),
            entry.source.name,
        ]
        for number, entry in enumerate(history.entries, 1)
    ]
    if needed is not None:
        head.insert(4, "messages")
        for row, entry in zip(rows, history.entries, strict=True):
            row.insert(4, str(_messages(entry, needed)))
    yield from table(head, rows, gives_way=(len(head) - 1,))
    for number, entry in enumerate(history.entries, 1):
        yield ""
        yield f"key {number}"
        for name, text in _facts(entry):
            yield from fact(name, text)
    for problem in history.problems:
        yield ""
        is_used = problem.kind in {ProblemKind.UNCHECKED, ProblemKind.EXPOSED}
        what = "read all the same" if is_used else "not read"
        yield from wrapped(f"{what}: {problem.path}: {problem.reason}", indent=2)
        if problem.hint:
            yield from wrapped(f"  hint: {problem.hint}", indent=4)


def _facts(entry: HistoryEntry) -> Iterator[tuple[str, str]]:
    if entry.has_certificate:
        yield "subject", entry.subject
        yield "issuer", entry.issuer
        yield "serial", entry.serial_number
        yield "sha256", entry.fingerprint
    else:
        yield "subject", "unknown: no certificate for this key was given"
    yield "key id", entry.subject_key_identifier
    yield "file", str(entry.source)


def _day(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d}"
