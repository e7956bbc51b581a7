"""``sectool keys``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sectool.cli import options

if TYPE_CHECKING:
    from sectool.keys import HistoryEntry, KeyHistory
    from sectool.outcome import Summary

EXAMPLE = "Example: sectool keys ~/keys --passphrase-file pass.txt --mailbox ~/Maildir"

Paths = Annotated[
    list[Path], typer.Argument(metavar="PATH...", help="Key files, or directories of them.")
]
OfMailbox = Annotated[
    str | None,
    typer.Option("--mailbox", metavar="MAILBOX", help="Count the messages that need each key."),
]


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=EXAMPLE)(keys)


def keys(
    paths: Paths,
    mailbox: OfMailbox = None,
    passphrase_file: options.PassphraseFile = None,
    passphrases: options.Passphrases = None,
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Show a key history: every key of every file, and what could not be read."""
    from sectool import jobs
    from sectool.cli.session import Manners, passphrase_prompt, run_job
    from sectool.keys import load_key_history

    manners = Manners(json, quiet, verbose)
    specification = options.key_specification(paths, passphrase_file, passphrases)
    assert specification is not None
    history = load_key_history(specification, passphrase_prompt())
    needed = None
    if mailbox is not None:
        spec = jobs.JobSpec(
            jobs.Operation.SCAN,
            mailbox,
            workers=jobs.default_workers() if workers is None else workers,
        )
        needed = run_job(spec, manners)
    _show(history, needed, manners)


def _show(history: KeyHistory, needed: Summary | None, manners: Any) -> None:
    import json as codec  # the option has the name

    from sectool.cli.shell import say

    if manners.json:
        print(codec.dumps(_document(history, needed), ensure_ascii=False))
    elif not manners.quiet:
        for line in _lines(history, needed):
            say(line)


def _messages(entry: HistoryEntry, needed: Summary) -> int:
    return sum(
        count
        for key, count in needed.keys.items()
        if (
            key.serial_number
            and key.serial_number == entry.serial_number
            and key.issuer == entry.issuer
        )
        or (
            key.subject_key_identifier
            and key.subject_key_identifier == entry.subject_key_identifier
        )
    )


def _document(history: KeyHistory, needed: Summary | None) -> dict[str, Any]:
    return {
        "format": 1,
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
            {"file": str(problem.path), "reason": problem.reason, "hint": problem.hint}
            for problem in history.problems
        ],
    }


def _lines(history: KeyHistory, needed: Summary | None) -> Iterator[str]:
    from sectool.cli.render import table

    head = ["subject", "algorithm", "valid from", "until", "file"]
    rows = [
        [
            entry.subject or "(no certificate)",
            entry.algorithm,
            f"{entry.not_before:%Y-%m-%d}" if entry.not_before else "-",
            f"{entry.not_after:%Y-%m-%d}" if entry.not_after else "-",
            entry.source.name,
        ]
        for entry in history.entries
    ]
    if needed is not None:
        head.append("messages")
        for row, entry in zip(rows, history.entries, strict=True):
            row.append(str(_messages(entry, needed)))
    yield from table(head, rows)
    for entry in history.entries:
        if entry.has_certificate:
            yield ""
            yield f"  serial {entry.serial_number}"
            yield f"  issuer {entry.issuer}"
            yield f"  sha256 {entry.fingerprint}"
    for problem in history.problems:
        yield ""
        yield f"not read: {problem.path}: {problem.reason}"
        if problem.hint:
            yield f"  hint: {problem.hint}"
