"""Whoever owns mbox files exchanges what lies there, while root works on them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sectool.crashpoints import install
from sectool.errors import MessageError, NoSuchMailbox, SectoolError
from sectool.mailbox import MailboxSpecification, Placed, open_mailbox
from tests.support.mailbox_contract import OLD, place, write
from tests.support.mbox_files import messages_in
from tests.support.mbox_world import MboxWorld

EVE = 65534

pytestmark = [
    pytest.mark.rights,
    pytest.mark.skipif(os.geteuid() != 0, reason="of what root is led to"),
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MboxWorld]:
    """Of a user, in a directory of theirs; what root alone may read lies beside."""
    home = tmp_path / "home"
    home.mkdir()
    made = MboxWorld(home / "mail")
    for number in range(3):
        made.deliver("INBOX", OLD + b"%d\n" % number)
    secret = tmp_path / "secret"
    secret.write_bytes(b"From root@example.org Fri Mar  4 05:06:07 2011\nX: y\n\nsecret\n\n")
    secret.chmod(0o600)
    given(home)
    yield made
    install(None)


def given(path: Path) -> None:
    for one in (path, *path.rglob("*")):
        os.chown(one, EVE, EVE, follow_symlinks=False)


def link_to_secret(secret: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    target.symlink_to(secret)


def name_of_secret(secret: Path, target: Path) -> None:
    target.unlink(missing_ok=True)
    target.hardlink_to(secret)


def all_only(value: object) -> object:
    return pytest.param(value, marks=pytest.mark.all_only)


@pytest.mark.parametrize("lead", [link_to_secret, name_of_secret])
@pytest.mark.parametrize(
    "point",
    [
        *("mbox.written.before", "mbox.rewrite", "mbox.exchanged.after"),
        *map(
            all_only,
            (
                *("mbox.made", "mbox.write", "mbox.place.after", "mbox.sync.before"),
                *("mbox.sync.after", "mbox.keep.after", "mbox.exchange.before"),
                *("mbox.exchange.after", "mbox.discard-old.before"),
            ),
        ),
    ],
)
@pytest.mark.parametrize("target", ["Inbox", "waiting", "old"])
def test_root_neither_reads_nor_changes_what_is_not_the_owners(
    world: MboxWorld,
    tmp_path: Path,
    point: str,
    lead: Callable[[Path, Path], None],
    target: str,
) -> None:
    secret = tmp_path / "secret"
    before, status = secret.read_bytes(), secret.stat()

    def act(name: str) -> None:
        if name != point:
            return
        beside = world.root / ".Inbox.sectool"
        if target == "Inbox":
            lead(secret, world.root / "Inbox")
        elif target == "waiting" and beside.is_dir():
            for path in list(beside.iterdir()):
                lead(secret, path)
        elif beside.is_dir():
            lead(secret, beside / "old.0.0123abcd")

    install(act)
    try:
        mailbox = open_mailbox(world.specification)
        with mailbox:
            mailbox.retire(place(mailbox, [one.ref for one in mailbox.walk("INBOX")]))
            mailbox.settle([])
    except (SectoolError, AssertionError):
        pass
    install(None)
    assert secret.read_bytes() == before
    now = secret.stat()
    assert (now.st_uid, now.st_mode) == (status.st_uid, status.st_mode)
    for path in world.root.rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.samefile(secret):
            assert b"secret" not in path.read_bytes()


def test_a_directory_that_is_led_elsewhere_gets_nothing(world: MboxWorld, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (world.root / ".Inbox.sectool").symlink_to(elsewhere)
    mailbox = open_mailbox(world.specification)
    refs = [one.ref for one in mailbox.walk("INBOX")]
    assert write(mailbox, refs) == []
    assert list(elsewhere.iterdir()) == []


def test_what_root_made_is_the_owners(world: MboxWorld) -> None:
    with open_mailbox(world.specification) as mailbox:
        answers = mailbox.retire(place(mailbox, [one.ref for one in mailbox.walk("INBOX")]))
    assert all(isinstance(answer, Placed) for answer in answers)
    owners = {path: path.stat().st_uid for path in (world.root, *world.root.rglob("*"))}
    assert owners == {world.root: EVE, world.root / "Inbox": EVE}


def test_a_file_of_somebody_else_in_a_users_directory_is_no_mailbox_of_theirs(
    world: MboxWorld, tmp_path: Path
) -> None:
    path = world.root / "stolen"
    path.hardlink_to(tmp_path / "secret")
    with pytest.raises(NoSuchMailbox, match="so root leaves it"):
        open_mailbox(MailboxSpecification("mbox", str(path)))
    mailbox = open_mailbox(world.specification)
    assert "stolen" in mailbox.folders()
    with pytest.raises(SectoolError, match="so root leaves it"):
        list(mailbox.walk("stolen"))


EXCHANGES = """
import os, random, sys
os.setgid({0}); os.setuid({0})
os.chdir(sys.argv[1])
dice = random.Random(int(sys.argv[2]))
def act():
    kind = dice.randrange(7)
    beside = ".Inbox.sectool"
    if kind == 0:
        os.rename("Inbox", "aside"); os.rename("aside", "Inbox")
    elif kind == 1:
        os.symlink(sys.argv[3], "new"); os.rename("new", "Inbox.lock")
    elif kind == 2:
        name = dice.choice(os.listdir(beside)); os.rename(beside + "/" + name, beside + "/x.new")
    elif kind == 3:
        name = dice.choice(os.listdir(beside)); os.unlink(beside + "/" + name)
        os.symlink(sys.argv[3], beside + "/" + name)
    elif kind == 4:
        os.rename(beside, "gone"); os.symlink(os.path.dirname(sys.argv[3]), beside)
    elif kind == 5:
        os.unlink(beside); os.rename("gone", beside)
    else:
        os.unlink("Inbox.lock")
while True:
    try:
        act()
    except OSError:
        pass
"""


@pytest.mark.parametrize("seed", [0, *map(all_only, range(1, 6))])
def test_exchanges_at_random_moments_lead_root_nowhere_and_lose_nothing_that_was_left_alone(
    world: MboxWorld, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setattr("sectool.mailbox.mbox.locking.WAIT", 0.05)
    monkeypatch.setattr("sectool.mailbox.mbox.late.PATIENCE", 0.05)
    secret = tmp_path / "secret"
    before = secret.read_bytes()
    for path in (tmp_path, *tmp_path.parents[:3]):
        path.chmod(0o755)
    words = [sys.executable, "-c", EXCHANGES.format(EVE), str(world.root), str(seed), str(secret)]
    eve = subprocess.Popen(words)
    try:
        until = time.monotonic() + (10 if whole else 0.7)
        while time.monotonic() < until:
            try:
                with open_mailbox(world.specification) as mailbox, mailbox.lock():
                    mailbox.settle([])
                    refs = [one.ref for one in mailbox.walk("INBOX")]
                    mailbox.retire(place(mailbox, refs))
            except (SectoolError, MessageError, AssertionError, OSError):
                continue
    finally:
        eve.send_signal(signal.SIGKILL)
        eve.wait()
    assert secret.read_bytes() == before
    assert secret.stat().st_uid == 0
    found = [path for path in (world.root / "Inbox", world.root / "aside") if path.exists()]
    assert sum(len(messages_in(path.read_bytes())) for path in found) >= 3
    for path in world.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert b"secret" not in path.read_bytes()
