"""Job directories that a test copies and goes on with, as if they had been moved."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path


def copy_as_moved(job: Path, to: Path) -> Path:
    """Copies a job directory and lets the copy forget where it comes from."""
    shutil.copytree(job, to)
    with closing(sqlite3.connect(to / "job.db")) as connection, connection:
        connection.execute("DELETE FROM job WHERE name = 'directory'")
    return to
