"""A Maildir on a full disk, and a message larger than the memory."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sectool.errors import NoSpace
from sectool.mailbox import Placed, Written, open_mailbox
from sectool.message import BytesContent
from tests.support.mailbox_contract import OLD, World, intend, place

REPOSITORY = Path(__file__).parents[2]

LARGE = """
import hashlib, resource, sys
from pathlib import Path
from sectool.mailbox import Replace, open_mailbox, recognise
from sectool.message import FileContent
mailbox = open_mailbox(recognise(sys.argv[1]))
(listing,) = mailbox.walk("INBOX")
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 24 * 1024 * 1024
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
stored = mailbox.fetch(listing.ref)
content = FileContent(Path(sys.argv[2]))
intended = mailbox.intend([Replace(listing.ref, content, stored.revision)])
staged = mailbox.write([(intended[0], content)])
placed = mailbox.place(staged)
retired = mailbox.retire(placed)
print(stored.content.size, retired[0].revision)
"""


@pytest.fixture
def small_disk(
    tmp_path: Path, mount: Callable[..., None], maildir_at: Callable[[Path], World]
) -> World:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "none", at=disk)
    return maildir_at(disk / "Maildir")


def test_a_full_disk_leaves_the_old_and_nothing_else(small_disk: World) -> None:
    refs = [small_disk.deliver("INBOX", OLD) for _ in range(4)]
    mailbox = open_mailbox(small_disk.specification)
    raw = b"X: y\n\n" + b"x" * 700_000
    intended = intend(mailbox, refs, raw)
    with pytest.raises(NoSpace):
        mailbox.write([(entry, BytesContent(raw)) for entry in intended])
    assert [seen.raw for seen in small_disk.seen()] == [OLD] * 4
    assert small_disk.hidden() == 0


def test_a_disk_with_space_again_takes_the_batch(small_disk: World) -> None:
    refs = [small_disk.deliver("INBOX", OLD) for _ in range(2)]
    filler = Path(small_disk.specification.location).parent / "filler"
    fill(filler)
    mailbox = open_mailbox(small_disk.specification)
    intended = intend(mailbox, refs)
    with pytest.raises(NoSpace):
        mailbox.write([(entry, BytesContent(OLD * 99)) for entry in intended])
    filler.unlink()
    answers = mailbox.retire(place(mailbox, refs))
    assert all(isinstance(answer, Placed) for answer in answers)


def fill(path: Path) -> None:
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_a_large_message_passes_in_little_memory(maildir: World, tmp_path: Path) -> None:
    size = 64 * 1024 * 1024
    maildir.deliver("INBOX", b"X: y\n\n" + bytes(size))
    new = tmp_path / "new"
    new.write_bytes(b"X: z\n\n" + bytes(size))
    done = subprocess.run(
        [sys.executable, "-c", LARGE, maildir.specification.location, str(new)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == str(size + 6)
    assert [seen.raw[:4] for seen in maildir.seen()] == [b"X: z"]


def test_staging_stops_at_the_first_full_write(small_disk: World) -> None:
    refs = [small_disk.deliver("INBOX", OLD) for _ in range(3)]
    mailbox = open_mailbox(small_disk.specification)
    first = intend(mailbox, refs[:1])
    (staged,) = mailbox.write([(first[0], BytesContent(OLD))])
    assert isinstance(staged, Written)
    raw = bytes(1_500_000)
    with pytest.raises(NoSpace):
        mailbox.write([(entry, BytesContent(raw)) for entry in intend(mailbox, refs, raw)])
    assert small_disk.hidden() == 1  # what another batch staged stays
