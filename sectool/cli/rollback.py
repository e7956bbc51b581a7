"""``sectool rollback``."""

from __future__ import annotations

import typer

from sectool.cli import afterwards, options

EXAMPLE = "Example: sectool rollback ~/move"


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(epilog=EXAMPLE)(rollback)


def rollback(
    directory: afterwards.Directory,
    mailbox: afterwards.Mailbox = None,
    partial: afterwards.Partial = False,
    dry_run: options.DryRun = False,
    folder: options.Folder = "*",
    since: options.Since = None,
    before: options.Before = None,
    limit: options.Limit = None,
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
) -> None:
    """Put the originals back, with the flags and in the folders of now.

    Mail that was deleted since stays deleted. The mail needs the old keys
    again, and encrypt is closed on this job until decrypt was run once more.
    """
    from sectool import jobs
    from sectool.cli.render import show
    from sectool.cli.session import Manners, run_job

    manners = Manners(json, quiet, verbose)
    spec = jobs.JobSpec(
        jobs.Operation.ROLLBACK,
        mailbox,
        job=directory,
        selection=options.selection(folder, since, before, limit),
        workers=jobs.default_workers() if workers is None else workers,
        dry_run=dry_run,
        partial=partial,
    )
    show(run_job(spec, manners), manners)
