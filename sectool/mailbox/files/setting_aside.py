"""Old copies on their way out, under names that no mail program looks at.

No call of the system removes a name only of a certain file. So an old copy is given another
name first, looked at there, and removed; what turns out to be another file gets its name back.
A kill in between leaves a name that says what was meant to go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sectool import durable
from sectool.directories import DirectoryEntry
from sectool.errors import MessageError
from sectool.mailbox.files.folders import is_there
from sectool.mailbox.files.message_files import MessageFiles
from sectool.message import Intent, digest_stream, open_regular_file

_ASIDE = re.compile(r"\.?(?P<where>[^/]+)\.(?P<digest>[0-9a-f]{64})\.old")


class SetAside(NamedTuple):
    """What a kill left under such a name."""

    folder: str
    file: DirectoryEntry
    digest: str
    """Of what was meant to go."""
    intent: Intent


def aside_name(intent: Intent, digest: str) -> str:
    """Name of a copy on its way out.

    It says which bytes were looked at: the log has those of the first look at the old copy, and
    what goes may be an old copy that was moved or edited since, or a new one that is taken back.
    """
    return f"{intent.where}.{digest}.old"


def left_aside(files: MessageFiles, part: str, intents: Sequence[Intent]) -> Iterator[SetAside]:
    """What a kill left of these intents.

    It is found in any folder, since one may have another name by now.

    Args:
        files: of the mailbox.
        part: directory of a folder in which such names lie.
        intents: that are open.
    """
    left = {intent.where: intent for intent in intents if intent.where}
    for folder in files.folders() if left else ():
        try:
            directory = files.directory(folder, part)
            with directory.scan() as entries:
                found = [_ASIDE.fullmatch(entry.name) for entry in entries]
        except (FileNotFoundError, NotADirectoryError, MessageError):
            continue  # not a folder any more, or not one of this mailbox's owner
        for name in found:
            if name is not None and (intent := left.get(name["where"])) is not None:
                yield SetAside(folder, directory / name[0], name["digest"], intent)


def digest_of(entry: DirectoryEntry) -> str:
    """SHA-256 of a file; empty of what cannot be read, or is none."""
    try:
        with open_regular_file(entry) as stream:
            return digest_stream(stream)
    except OSError:
        return ""


def put_back(aside: DirectoryEntry, name: DirectoryEntry, other: str, point: str) -> None:
    """Gives what was set aside its name again, durably.

    Args:
        aside: what it is called now.
        name: what it was called.
        other: what it is called instead where that is taken; no file has that name.
        point: name of the crash points.
    """
    if is_there(name):
        name = name.directory / other
    durable.rename(aside, name, point)
    durable.sync_directories([name.directory, aside.directory], point)
