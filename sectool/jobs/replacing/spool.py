"""Where workers write new messages before they are staged."""

from __future__ import annotations

from pathlib import Path

from sectool import durable
from sectool.jobs.session.job import SPOOL_NAME, Job
from sectool.jobs.work.new_message import NewFiles
from sectool.mailbox import Mailbox


class Spool:
    """A directory for the new messages of one job, on the mailbox's file system where it can be.

    Args:
        job: its name begins the names of the files.
        mailbox: may have a place from which staging is a rename.
    """

    def __init__(self, job: Job, mailbox: Mailbox) -> None:
        self.prefix = f"sectool.{job.name}."
        """By which a later run knows the files for this job's."""
        self._own = job.directory / SPOOL_NAME
        self._directory = mailbox.capabilities.spool_directory or self._own

    @property
    def directory(self) -> Path:
        """The directory, made when it is not there."""
        with durable.explained("make the spool directory"):
            durable.make_directory(self._directory)
        return self._directory

    @property
    def files(self) -> NewFiles:
        """The same for workers."""
        return NewFiles(self.directory, self.prefix, is_of_mailbox=self._directory != self._own)

    def sweep(self) -> None:
        """Removes new messages that an interrupted run wrote and never announced."""
        with durable.explained("clean the spool directory"):
            # An earlier run may have found no room in the mailbox.
            for directory in {self.directory, self._own}:
                for leftover in directory.glob(f"{self.prefix}*"):
                    durable.unlink(leftover, "spool.sweep", missing_ok=True)
