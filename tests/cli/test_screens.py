"""Every screen that three kinds of people meet, kept as ``docs/screens/*.txt`` for a reader.

``SECTOOL_WRITE_SCREENS=1`` writes them anew. What differs between two runs is written as a word.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sectool.cli.words.layout import columns_of
from sectool.demo.sample import sample_directory, unpack_maildir
from tests.support.terminal import screen

SCREENS = Path(__file__).parents[2] / "docs" / "screens"
KEYS = "--keys keys/old --passphrase-file keys/passphrase.txt"
PROOF = "--verify-keys keys/new/owner-new.key --verify-keys keys/new/owner-new.pem"

NEWCOMER = (
    f"scan Maildir {KEYS}",
    f"decrypt Maildir {KEYS} --job move --limit 10",
    f"decrypt Maildir {KEYS} --job move",
    "mv Maildir NewMaildir",
    "encrypt NewMaildir --job move --to keys/new/owner-new.pem --dry-run",
    "encrypt NewMaildir --job move --to keys/new/owner-new.pem",
    "status move",
    f"verify move {PROOF} --retire keys/old --passphrase-file keys/passphrase.txt",
    "purge move --dry-run",
    "rollback move --dry-run",
)

PERSON = (
    f"rewrap Maildir {KEYS} --to keys/new/owner-new.pem --job renewal --dry-run",
    f"rewrap Maildir {KEYS} --to keys/new/owner-new.pem --job renewal --max-failures 100",
    f"verify renewal {PROOF}",
    "purge renewal",
)

USERS = 20
SMALL = "--before 2009-01-01"

ADMINISTRATOR = (
    f"decrypt Maildir {KEYS} --job jobs/01 {SMALL}",
    f"decrypt Maildir {KEYS} --job jobs/02 {SMALL} --quiet",
    f"encrypt Maildir --job jobs/02 --to keys/new/owner-new.pem --partial {SMALL} --quiet",
    "status " + " ".join(f"jobs/{n:02}" for n in range(1, USERS + 1)),
    f"verify jobs/01 jobs/02 {PROOF} --quiet",
)
"""The jobs of the other users are as far as one of these two; ``status`` shows them alike."""

STORIES = {"newcomer": NEWCOMER, "person": PERSON, "administrator": ADMINISTRATOR}


def same_again(text: str, place: Path) -> str:
    """Without what differs between two runs."""
    text = text.replace(str(place), "/home/alice/mail")
    text = re.sub(r"\b20[23]\d-\d\d-\d\d( \d\d:\d\d:\d\d)?", "DATE", text)
    text = re.sub(r"[\d.]+ [kMG]B", "SIZE", text)
    return re.sub(r"\d+ to \d+ (seconds|minutes)", r"TIME", text)


@pytest.fixture
def place() -> Iterator[Path]:
    # Paths are as long on every machine, since lines break by them.
    place = Path(tempfile.mkdtemp(dir="/tmp", prefix="tmp"))
    sample = sample_directory()
    shutil.copytree(sample / "keys", place / "keys")
    for path in (place / "keys").glob("passphrase*"):
        path.chmod(0o600)
    unpack_maildir(sample, place / "Maildir")
    yield place
    shutil.rmtree(place)


def play(story: tuple[str, ...], place: Path, columns: int) -> str:
    told = []
    for command in story:
        words = shlex.split(command)
        if words[0] == "mv":
            (place / words[1]).rename(place / words[2])
            told.append(f"$ {command}\n")
            continue
        if words[0] == "status" and "jobs/20" in words:
            for number in range(3, USERS + 1):
                like = place / "jobs" / ("01" if number % 2 else "02")
                shutil.copytree(like, place / "jobs" / f"{number:02}")
        # In one process: with several, messages of one kind are listed in any order.
        alone = [] if words[0] == "status" else ["--workers", "0"]
        code, text = screen(*words, *alone, columns=columns, directory=place)
        for line in text.splitlines():
            assert line.lstrip().startswith("next: sectool ") or columns_of(line) <= columns, line
        told.append(f"$ sectool {command}\n{text}(exit code {code})\n")
    return same_again("\n".join(told), place)


@pytest.mark.long
@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.all_only)])
@pytest.mark.parametrize("story", STORIES)
def test_a_story_looks_as_it_is_kept(story: str, columns: int, place: Path) -> None:
    told = play(STORIES[story], place, columns)
    kept = SCREENS / f"{story}-{columns}.txt"
    if os.environ.get("SECTOOL_WRITE_SCREENS"):
        SCREENS.mkdir(exist_ok=True)
        kept.write_text(told, encoding="utf-8")
    assert told == kept.read_text(encoding="utf-8")
