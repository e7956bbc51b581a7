"""A user at work, random kills and a full disk, over and over, on a mailbox of a real Dovecot.

Mailbox and job lie on one small disk that is full now and then. After each command all that the
server showed the user after their last act on each message is compared: folder, flags, count and
text. Ends at the first violation. Needs root, Dovecot and a C compiler.

    python benchmarks/busy_soak.py --seconds 3600
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.busy_story import STORIES, BusyStory, full_now_and_then
from tests.support.dovecot import running_dovecot
from tests.support.faults import FaultyProcess, compile_library
from tests.support.mailboxes import Keys, make_key


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """An ext4 of its own in a file."""
    image, disk = place / "image", place / "disk"
    disk.mkdir()
    subprocess.run(["truncate", "-s", size, image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    try:
        disk.chmod(0o755)
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def make_keys(place: Path) -> Keys:
    """Keys of the user."""
    history = place / "history"
    history.mkdir()
    old = make_key(history, "old")
    new, stranger, transport = (make_key(place, name) for name in ("new", "other", "transport"))
    return Keys(old, new, stranger, history, transport)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--acts", type=int, default=60, help="of the user beside each command")
    parser.add_argument("--size", default="24M", help="of the disk")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--story", choices=[*STORIES], action="append")
    parser.add_argument("--keep", type=Path, help="where mailbox and job of a violation are kept")
    arguments = parser.parse_args()
    told: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        place.chmod(0o755)
        keys = make_keys(place)
        process = FaultyProcess(compile_library(place))
        with small_disk(place, arguments.size) as disk, running_dovecot(disk / "mail") as dovecot:
            end = time.monotonic() + arguments.seconds
            for seed in itertools.count(arguments.seed):
                for story in arguments.story or STORIES:
                    job = disk / "job"
                    beside = partial(full_now_and_then, disk, seed)
                    busy = BusyStory(dovecot, process, keys, place, job, seed, beside)
                    try:
                        commands = busy.tell(story, acts=arguments.acts)
                    except AssertionError:
                        if arguments.keep is not None:
                            shutil.copytree(disk, arguments.keep, dirs_exist_ok=True)
                        raise
                    told["stories"] += 1
                    told["commands"] += len(commands.said)
                    told["kills"] += commands.kills
                    told["commands that met a full disk"] += commands.full
                    told["acts of the user"] += arguments.acts * len(STORIES[story])
                    shutil.rmtree(job)
                print(json.dumps(told), flush=True)
                if time.monotonic() > end:
                    break
        process.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
