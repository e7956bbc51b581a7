"""Whether Thunderbird is at work on the profile in which a mailbox lies.

By paths alone: nothing there is read but who holds a lock.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from sectool.errors import Locked
from sectool.mailbox.files.names import printable
from sectool.mailbox.mbox.locking import holder_of, is_alive, process_named
from sectool.message import open_regular_file


def profile_of(path: Path) -> Path | None:
    """The Thunderbird profile in which a mailbox lies; None: in none."""
    return next((one for one in (path, *path.parents)[:_LEVELS] if _is_profile(one)), None)


_LEVELS = 8


def _is_profile(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return (path / "prefs.js").is_file() and path.is_dir()
    return False


def check_profile(path: Path) -> None:
    """Holds that no Thunderbird is at work on the profile in which a mailbox lies.

    Raises:
        Locked: one is; the text says which process.
    """
    profile = profile_of(path)
    holder = "" if profile is None else _user_of(profile)
    if holder:
        raise Locked(
            f"the Thunderbird profile {printable(str(profile))} is in use by {holder}",
            hint="close Thunderbird, then run the command again",
        )


def _user_of(profile: Path) -> str:
    for name in (".parentlock", "parent.lock"):
        with contextlib.suppress(OSError), open_regular_file(profile / name) as stream:
            if holder := holder_of(stream.fileno()):
                return holder
    with contextlib.suppress(OSError, ValueError):
        # A link to an address and a process, which leads nowhere.
        process = int(str((profile / "lock").readlink()).rpartition("+")[2])
        if is_alive(process):
            return process_named(process)
    return ""
