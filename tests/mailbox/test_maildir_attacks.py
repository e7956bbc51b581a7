"""Root works on a mailbox whose owner exchanges directories, files and links meanwhile."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sectool.crashpoints import install
from sectool.errors import MessageError, SectoolError
from sectool.mailbox import Add, Mailbox, MailboxSpecification, Placed, Replace, Written
from sectool.mailbox.maildir import Maildir
from sectool.message import BytesContent, FileContent

pytestmark = [
    pytest.mark.rights,
    pytest.mark.skipif(os.geteuid() != 0, reason="another user's mailbox needs root"),
]

ATTACKER, VICTIM = 65534, 12345
SECRET = b"Subject: nobody else's\n\nwhat only its owner may read\n"
MAIL = b"Subject: mine\n\nan old message of mine\n"
NEW = b"Subject: mine\n\nthe new message of mine, longer than the old\n"
DATE = datetime(2011, 3, 4, 5, 6, 7, tzinfo=UTC)
FOLDERS = ("", ".Work", "Archive", "Archive/Old")
NAME = "1300000000.M1P1.host:2,S"


class Scene:
    """A mailbox of the attacker's, with folders of both kinds, beside another user's."""

    def __init__(self, place: Path) -> None:
        self.root, self.other = place / "Maildir", place / "other"
        place.mkdir(exist_ok=True)
        for root, mail, owner in ((self.root, MAIL, ATTACKER), (self.other, SECRET, VICTIM)):
            for folder, part in itertools.product(FOLDERS, ("cur", "new", "tmp")):
                (root / folder / part).mkdir(parents=True, mode=0o700)
            for folder in FOLDERS:
                (root / folder / "cur" / NAME).write_bytes(mail)
                (root / folder / "dovecot-keywords").write_text("0 Work\n")
            for path in (root, *root.rglob("*")):
                os.chown(path, owner, owner)
                os.utime(path, (DATE.timestamp(), DATE.timestamp()))
        os.chown(place, ATTACKER, ATTACKER)
        self.before = self.others_state()

    def others_state(self) -> dict[str, tuple[object, ...]]:
        """All that could be changed of what is the victim's."""
        found: dict[str, tuple[object, ...]] = {}
        for path in (self.other, *self.other.rglob("*")):
            status = path.lstat()
            raw = path.read_bytes() if path.is_file() else b""
            times = status.st_mtime_ns
            found[str(path)] = (status.st_uid, status.st_gid, status.st_mode, times, raw)
        return found

    def leaked(self) -> list[Path]:
        """Copies of the victim's mail that the attacker did not link themself."""
        own = {path.lstat().st_ino for path in self.other.rglob("*")}
        return [
            path
            for path in self.root.rglob("*")
            if stat.S_ISREG(path.lstat().st_mode)
            and path.lstat().st_ino not in own
            and SECRET in path.read_bytes()
        ]

    def check(self) -> None:
        assert self.others_state() == self.before
        assert self.leaked() == []


def swap(path: Path, target: Path) -> None:
    """Puts a link in the place of a directory."""
    path.rename(path.with_name(f"{path.name}.aside"))
    path.symlink_to(target)
    os.lchown(path, ATTACKER, ATTACKER)


def staged(scene: Scene) -> list[Path]:
    return [path for path in scene.root.glob("**/tmp/*") if path.is_file()]


def swap_staged(scene: Scene, act: Callable[[Path], object]) -> None:
    for path in staged(scene):
        path.unlink()
        act(path)


def swap_made(scene: Scene) -> None:
    for path in scene.root.rglob("*"):
        if path.is_dir() and path.stat().st_uid == 0:
            swap(path, scene.other)


def swap_messages(scene: Scene, act: Callable[[Path], object]) -> None:
    for path in scene.root.glob("**/cur/*"):
        path.unlink()
        act(path)


EXCHANGES: dict[str, Callable[[Scene], object]] = {
    "tmp": lambda scene: swap(scene.root / "tmp", scene.other / "tmp"),
    "cur": lambda scene: swap(scene.root / "cur", scene.other / "cur"),
    "new": lambda scene: swap(scene.root / "new", scene.other / "new"),
    "tmp of a folder": lambda scene: swap(scene.root / ".Work/tmp", scene.other),
    "a folder": lambda scene: swap(scene.root / ".Work", scene.other / ".Work"),
    "the parent of a folder": lambda scene: swap(scene.root / "Archive", scene.other / "Archive"),
    "the mailbox": lambda scene: swap(scene.root, scene.other),
    "a missing tmp": lambda scene: (scene.root / "tmp").rename(scene.root / "aside"),
    "what is made": swap_made,
    "staged: a FIFO": lambda scene: swap_staged(scene, os.mkfifo),
    "staged: a link": lambda scene: swap_staged(
        scene, lambda path: path.symlink_to(scene.other / "cur" / NAME)
    ),
    "staged: a second name": lambda scene: swap_staged(
        scene, lambda path: path.hardlink_to(scene.other / "cur" / NAME)
    ),
    "messages: links": lambda scene: swap_messages(
        scene, lambda path: path.symlink_to(scene.other / "cur" / NAME)
    ),
    "messages: second names": lambda scene: swap_messages(
        scene, lambda path: path.hardlink_to(scene.other / "cur" / NAME)
    ),
    "messages: FIFOs": lambda scene: swap_messages(scene, os.mkfifo),
    "keywords": lambda scene: swap(
        scene.root / "dovecot-keywords", scene.other / "dovecot-keywords"
    ),
    "the folder that is made": lambda scene: (scene.root / ".Recovered").symlink_to(scene.other),
}


def work(mailbox: Mailbox, spool: Path | None = None) -> int:
    """Replaces all messages and adds one, as a run does it; how many were replaced."""
    changes: list[Replace | Add] = []
    for folder in list(mailbox.folders()):
        for listing in mailbox.walk(folder):
            with suppress(MessageError):
                stored = mailbox.fetch(listing.ref)
                with stored.content.open() as stream:
                    raw = stream.read().replace(MAIL, NEW)
                content: BytesContent | FileContent = BytesContent(raw)
                if spool is not None:
                    path = spool / f"sectool.test.{len(changes)}"
                    path.write_bytes(raw)
                    content = FileContent(path)
                changes.append(Replace(listing.ref, content, stored.revision))
    intents = mailbox.intend(changes)
    contents = [change.content for change in changes]
    written = mailbox.write(list(zip(intents, contents, strict=True)))
    placed = mailbox.place([copy for copy in written if isinstance(copy, Written)])
    retired = mailbox.retire([copy for copy in placed if isinstance(copy, Placed)])
    mailbox.find(intents)
    mailbox.abandon(intents)
    (added,) = mailbox.intend([Add("Recovered", BytesContent(NEW), DATE)])
    written = mailbox.write([(added, BytesContent(NEW))])
    mailbox.place([copy for copy in written if isinstance(copy, Written)])
    return sum(isinstance(copy, Placed) for copy in retired)


def open_again(root: Path) -> Mailbox:
    return Maildir(MailboxSpecification("maildir", str(root)))


@contextmanager
def at_point(number: int, act: Callable[[], object]) -> Iterator[list[str]]:
    """Acts at one crash point, counted from 0 over all; answers the names of those passed."""
    passed: list[str] = []

    def hook(name: str) -> None:
        passed.append(name)
        if len(passed) == number + 1:
            with suppress(OSError):
                act()

    before = install(hook)
    try:
        yield passed
    finally:
        install(before)


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Ends what hangs."""

    def stop(*_: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_without_an_attack_all_is_replaced_for_its_owner(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert work(open_again(scene.root)) == len(FOLDERS)
    mail = [path for path in scene.root.rglob("*") if path.is_file() and path.stat().st_size > 10]
    assert sorted(path.read_bytes() for path in mail) == [NEW] * (len(FOLDERS) + 1)
    owners = {path.stat().st_uid for path in scene.root.rglob("*")}
    assert owners == {ATTACKER}


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_no_exchange_at_any_point_reaches_what_is_anothers(
    tmp_path: Path, exchange: str, whole: bool
) -> None:
    step = 1 if whole else 43
    for number in itertools.count(len(exchange) % step, step):
        place = tmp_path / str(number)
        scene = Scene(place)
        if exchange == "what is made":
            for folder in FOLDERS:
                (scene.root / folder / "tmp").rmdir()
        spool = place / "spool"
        spool.mkdir()
        mailbox = open_again(scene.root)
        act = EXCHANGES[exchange]
        with limited(20), at_point(number, lambda: act(scene)) as passed, suppress(SectoolError):  # noqa: B023
            work(mailbox, spool if number % 2 else None)
        scene.check()
        with limited(20), suppress(SectoolError):
            work(open_again(scene.root))
        scene.check()
        shutil.rmtree(place)
        if len(passed) <= number:
            break
    assert number > 40


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_what_is_exchanged_after_the_listing_is_not_acted_on(tmp_path: Path, exchange: str) -> None:
    scene = Scene(tmp_path)
    mailbox = open_again(scene.root)
    listings = [each for folder in list(mailbox.folders()) for each in mailbox.walk(folder)]
    EXCHANGES[exchange](scene)
    mailbox.close()
    for listing in listings:
        with (
            limited(5),
            suppress(SectoolError),
            mailbox.fetch(listing.ref).content.open() as stream,
        ):
            assert stream.read() == MAIL
    scene.check()


def test_no_attacker_at_work_meanwhile_reaches_what_is_anothers(
    tmp_path: Path, whole: bool
) -> None:
    seed = random.SystemRandom().randrange(1 << 32) if whole else 14
    end = time.monotonic() + (60 if whole else 1.5)
    done = 0
    for number in itertools.count():
        scene = Scene(tmp_path / str(number))
        child = attacker(scene, seed + number)
        try:
            for _ in range(3):
                with limited(20), suppress(SectoolError):
                    done += work(open_again(scene.root))
                assert scene.others_state() == scene.before
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        scene.check()
        shutil.rmtree(tmp_path / str(number))
        if time.monotonic() > end and done:
            break
        assert time.monotonic() < end + 60, seed


def attacker(scene: Scene, seed: int) -> int:
    """A process of the owner of the mailbox, who exchanges whatever they can, without a pause."""
    child = os.fork()
    if child:
        return child
    try:
        os.chdir(scene.root)
        os.setgroups([])
        os.setgid(ATTACKER)
        os.setuid(ATTACKER)
        exchange_for_ever(scene.other, random.Random(seed))
    finally:
        os._exit(0)


def exchange_for_ever(other: Path, choice: random.Random) -> None:
    here = Path()
    places = [here / folder / part for folder in FOLDERS for part in ("cur", "new", "tmp")]
    places += [here / "Archive", here / ".Work", here / ".Recovered", here / "dovecot-keywords"]
    while True:
        time.sleep(choice.random() * 0.004)
        path = choice.choice(places)
        with suppress(OSError):
            if choice.random() < 0.4:
                path = choice.choice([*(path if path.is_dir() else here).iterdir(), path])
            aside = path.with_name(f"{path.name}.aside")
            how = choice.randrange(4)
            if aside.exists() and how:
                if path.is_symlink() or not path.is_dir():
                    path.unlink(missing_ok=True)
                aside.rename(path)
                continue
            path.rename(aside)
            if how == 0:
                os.mkfifo(path)
            elif how == 1:
                path.symlink_to(other / path)
            elif how == 2:
                path.symlink_to(other / "cur" / NAME)
            else:
                path.mkdir()
