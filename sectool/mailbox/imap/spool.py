"""Files of this run alone: mail on its way to the workers, and who holds an account."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from sectool import durable
from sectool.errors import UnsafeDirectory
from sectool.message import open_regular_file
from sectool.trust import Trust

_MAIL = "mail-"


def private_directory() -> Path:
    """A directory for temporary files that is the caller's alone; made where it is not there.

    Raises:
        UnsafeDirectory: somebody else made it, or could exchange it.
    """
    path = Path(tempfile.gettempdir()) / f"sectool-{os.geteuid()}"
    with durable.explained("make a directory for temporary files", denied=UnsafeDirectory):
        trust = Trust()
        while (way := trust.walk(path)).missing:
            durable.make_directory(way.real / way.missing[0])
        trust.check_own_directory(way.real)
    return way.real


class Spool:
    """A file that holds messages until the workers are done with them."""

    def __init__(self, directory: Path) -> None:
        while True:
            descriptor, path = tempfile.mkstemp(prefix=_MAIL, dir=directory)
            self.file: BinaryIO = os.fdopen(descriptor, "w+b")
            self.path = Path(path)
            # Another run may take it for one that was left, before it is locked.
            with contextlib.suppress(BlockingIOError):
                _lock(self.file)
                if os.fstat(self.file.fileno()).st_nlink:
                    break
            self.file.close()

    def flush(self) -> None:
        """All that was written can be read by workers."""
        self.file.flush()

    def close(self) -> None:
        """Removes the file."""
        durable.unlink(self.path, "spool.removed", missing_ok=True)
        # What could not be written, as on a full disk, is not wanted any more.
        with contextlib.suppress(OSError):
            self.file.close()


def _lock(file: BinaryIO) -> None:
    """Holds that no other run sweeps a file.

    Raises:
        OSError: another run has it.
    """
    import fcntl  # noqa: PLC0415  # not on Windows

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def sweep(directory: Path) -> None:
    """Removes what runs left that were killed."""
    for path in directory.glob(f"{_MAIL}*"):
        with contextlib.suppress(OSError), open_regular_file(path) as file:
            _lock(file)
            durable.unlink(path, "spool.swept", missing_ok=True)
