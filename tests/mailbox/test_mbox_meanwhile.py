"""Programs that deliver, lock and change an mbox at every moment in which it is written anew."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sectool.crashpoints import install
from sectool.directories import Directory
from sectool.errors import Locked, MessageChanged, MessageVanished
from sectool.mailbox import Intent, Mailbox, MailboxSpecification, Placed, open_mailbox
from sectool.mailbox.mbox import late as ending, locking
from sectool.message import MessageRef
from tests.support import crash
from tests.support.mailbox_contract import FLAGGED, NEW, OLD, all_placed, place, write
from tests.support.mbox_files import messages_in, waiting_in
from tests.support.mbox_world import MboxWorld

LATE = b"From late-%d@example.org Fri Mar  4 05:06:07 2011\nSubject: late %d\n\nlate\n\n"


@pytest.fixture
def world(tmp_path: Path) -> MboxWorld:
    return MboxWorld(tmp_path / "mail")


@pytest.fixture
def refs(world: MboxWorld) -> list[MessageRef]:
    return [world.deliver("INBOX", OLD) for _ in range(3)]


@pytest.fixture(autouse=True)
def _no_hook() -> Iterator[None]:
    yield
    install(None)


# --- deliveries ----------------------------------------------------------------------------


def with_both_locks(path: Path, number: int) -> None:
    """As procmail and Postfix do: the lock file, then the lock of the kernel."""
    lock = path.with_name(f"{path.name}.lock")
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
            break
        except FileExistsError:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(lock.read_text()), 0)
                time.sleep(0.01)
                continue
            lock.unlink(missing_ok=True)  # of a process that is no more
    try:
        with_kernel_lock(path, number)
    finally:
        lock.unlink(missing_ok=True)


def with_kernel_lock(path: Path, number: int) -> None:
    """Opens first and waits then, so that it may write to a file that has no name any more."""
    with path.open("ab", 0) as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        file.write(LATE % (number, number))


def late(raw: bytes) -> Counter[bytes]:
    return Counter(one.content for one in messages_in(raw) if b"Subject: late" in one.raw)


class Deliveries:
    """Begins one delivery at each point that a run passes, in a process of its own."""

    def __init__(self, path: Path, how: Callable[[Path, int], None]) -> None:
        self._path = path
        self._how = how
        self._children: list[int] = []
        self._ended, self._held = os.pipe()
        self.points: list[str] = []

    def begin(self, point: str) -> None:
        self.points.append(point)
        child = os.fork()
        if not child:
            install(None)
            os.closerange(3, self._held)  # of other processes it has nothing
            os.closerange(self._held + 1, 1024)
            try:
                self._how(self._path, len(self.points))
            finally:
                os._exit(0)
        self._children.append(child)
        time.sleep(0.002)  # it opens the file, or is about to

    def end(self) -> None:
        """Waits for all, also for those that a process began which was killed."""
        os.close(self._held)
        assert os.read(self._ended, 1) == b""
        os.close(self._ended)
        while self._children:
            assert os.waitpid(self._children.pop(), 0)[1] == 0


@pytest.mark.parametrize("how", [with_both_locks, with_kernel_lock])
def test_a_delivery_at_any_moment_comes_in_once(
    world: MboxWorld, refs: list[MessageRef], how: Callable[[Path, int], None]
) -> None:
    path = world.path("INBOX")
    deliveries = Deliveries(path, how)
    mailbox = open_mailbox(world.specification)
    install(deliveries.begin)
    answers = mailbox.retire(place(mailbox, refs))
    install(None)
    deliveries.end()
    with open_mailbox(world.specification) as another:
        another.settle([])
    assert all_placed(answers)
    assert len(deliveries.points) > 20
    seen = Counter(seen.raw for seen in world.seen())
    assert seen[NEW] == 3
    assert late(path.read_bytes()) == Counter(
        b"Subject: late %d\n\nlate\n" % number for number in range(1, len(deliveries.points) + 1)
    )
    assert seen.total() == 3 + len(deliveries.points)
    assert waiting_in(world.root) == []


def points_of(world: MboxWorld, act: Callable[[], object]) -> list[str]:
    trace = world.root.parent / "trace"
    assert crash.in_child(act, f"trace@{trace}") == 0
    return trace.read_text().splitlines()


@pytest.mark.parametrize("how", [with_both_locks, with_kernel_lock])
def test_a_delivery_beside_a_kill_at_any_moment_comes_in_once(
    tmp_path: Path, whole: bool, how: Callable[[Path, int], None]
) -> None:
    def made(name: str) -> tuple[MboxWorld, list[Placed]]:
        world = MboxWorld(tmp_path / name)
        refs = [world.deliver("INBOX", OLD) for _ in range(2)]
        return world, place(open_mailbox(world.specification), refs)

    traced, placed = made("traced")
    points = points_of(traced, lambda: open_mailbox(traced.specification).retire(placed))
    chosen = range(1, len(points) + 1)[:: 1 if whole else 3]
    for number in chosen:
        world, placed = made(f"killed-{number}")
        deliveries = Deliveries(world.path("INBOX"), how)

        def act(
            world: MboxWorld = world,
            placed: list[Placed] = placed,
            deliveries: Deliveries = deliveries,
            number: int = number,
        ) -> None:
            dying = crash.hook_of(f"crash@{number}")

            def hook(point: str) -> None:
                if point.endswith("before") or point == "mbox.rewrite":
                    deliveries.begin(point)
                dying(point)

            install(hook)
            open_mailbox(world.specification).retire(placed)

        assert crash.in_child(act) == -signal.SIGKILL
        deliveries.end()
        begun = sum(
            one.endswith("before") or one == "mbox.rewrite" for one in points[: number + 20]
        )
        intents = [one.written.intent for one in placed]
        finish(open_mailbox(world.specification), intents)
        seen = Counter(seen.raw for seen in world.seen())
        assert seen[NEW] == 2, points[number - 1]
        found = late(world.path("INBOX").read_bytes())
        assert max(found.values(), default=1) == 1, points[number - 1]
        assert {b"Subject: late %d\n\nlate\n" % n for n in range(1, 1 + min(begun, 1))} <= set(
            found
        )
        assert seen.total() == 2 + len(found)
        assert waiting_in(world.root) == [], points[number - 1]


def finish(mailbox: Mailbox, intents: list[Intent]) -> None:
    """What the engine does after a kill."""
    with mailbox, mailbox.lock():
        mailbox.settle(intents)
        found = mailbox.find(intents)
        waiting = [one.copies[0] for one in found if one.old_present]
        assert all(one.copies for one in found)
        if waiting:
            all_placed(mailbox.retire(waiting))


# --- locks of others -----------------------------------------------------------------------


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "WAIT", 0.1)
    monkeypatch.setattr(ending, "PATIENCE", 0.1)


def while_held(act: Callable[[], object], hold: Callable[[], object]) -> int:
    """Acts while another process holds something; its number."""
    ready, write_end = os.pipe()
    child = os.fork()
    if not child:
        kept = hold()
        os.write(write_end, b".")
        time.sleep(60)
        os._exit(bool(kept))
    try:
        os.read(ready, 1)
        act()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(write_end)
    return child


def kernel_lock_on(path: Path) -> Callable[[], object]:
    def hold() -> object:
        file = path.open("ab")
        fcntl.lockf(file, fcntl.LOCK_EX)
        return file

    return hold


def test_a_lock_file_that_another_program_made_meanwhile_stays(tmp_path: Path) -> None:
    """It took ours for stale."""
    (tmp_path / "box").write_bytes(b"")
    theirs, lock = tmp_path / "theirs", tmp_path / "box.lock"
    theirs.touch()
    with locking.locked(Directory.at(tmp_path) / "box"):
        assert lock.exists()
        theirs.rename(lock)
    assert lock.exists()


@pytest.mark.parametrize("point", ["mbox.lock.before", "mbox.lock.after"])
def test_a_kill_while_the_lock_file_is_made_leaves_none_that_names_nobody(
    tmp_path: Path, point: str
) -> None:
    """One such would be waited for until it is old."""
    (tmp_path / "box").write_bytes(b"")

    def act() -> None:
        with locking.locked(Directory.at(tmp_path) / "box"):
            pass

    assert crash.in_child(act, f"crash@{point}") == -signal.SIGKILL
    locks = [path.read_text() for path in tmp_path.glob("*.lock")]
    assert [text.strip().isdigit() for text in locks] == ([True] if "after" in point else [])


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("kind", ["kernel", "file"])
def test_a_lock_that_somebody_holds_ends_the_run_and_says_whose_it_is(
    world: MboxWorld, refs: list[MessageRef], kind: str
) -> None:
    path = world.path("INBOX")
    mailbox = open_mailbox(world.specification)
    placed, before = place(mailbox, refs), path.read_bytes()
    lock = path.with_name("Inbox.lock")
    hold = kernel_lock_on(path) if kind == "kernel" else lambda: lock.write_text(str(os.getpid()))
    told: list[str] = []

    def act() -> None:
        with pytest.raises(Locked) as error:
            mailbox.retire(placed)
        told.append(error.value.message)

    holder = while_held(act, hold)
    assert f"is locked by process {holder}" in told[0]
    assert path.read_bytes() == before
    # Its process is no more, so the lock is nobody's.
    assert all_placed(mailbox.retire(placed))
    assert not lock.exists()


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize(("age", "is_stale"), [(10, False), (10_000, True)])
def test_a_lock_file_that_names_nobody_is_stale_when_it_is_old(
    world: MboxWorld, refs: list[MessageRef], age: int, is_stale: bool
) -> None:
    mailbox = open_mailbox(world.specification)
    placed = place(mailbox, refs)
    lock = world.path("INBOX").with_name("Inbox.lock")
    lock.touch()
    os.utime(lock, (time.time() - age, time.time() - age))
    if is_stale:
        assert all_placed(mailbox.retire(placed))
    else:
        with pytest.raises(Locked, match=r"whoever made .*Inbox\.lock"):
            mailbox.retire(placed)
    assert lock.exists() != is_stale


@pytest.mark.parametrize("single", [False, True])
def test_one_run_keeps_another_out_also_after_an_exchange(
    world: MboxWorld, refs: list[MessageRef], single: bool
) -> None:
    path = world.path("INBOX") if single else world.root
    mailbox = open_mailbox(MailboxSpecification("mbox", str(path)))
    another = open_mailbox(mailbox.specification)
    with mailbox.lock():
        assert another.is_in_use()
        assert all_placed(mailbox.retire(place(mailbox, refs)))
        assert another.is_in_use()
        with pytest.raises(Locked), another.lock():
            pass
    assert not another.is_in_use()
    with another.lock():
        pass


@pytest.mark.parametrize("kind", [".parentlock", "lock"])
def test_a_profile_that_thunderbird_uses_is_locked(world: MboxWorld, kind: str) -> None:
    profile = world.root.parent
    (profile / "prefs.js").touch()
    mailbox = open_mailbox(world.specification)

    def hold() -> object:
        if kind == "lock":
            (profile / "lock").symlink_to(f"127.0.1.1:+{os.getpid()}")
            return None
        return kernel_lock_on(profile / ".parentlock")()

    def act() -> None:
        told = r"Thunderbird profile .* is in use by process \d+"
        with pytest.raises(Locked, match=told), mailbox.lock():
            pass

    while_held(act, hold)
    with mailbox.lock():
        pass


# --- what others change meanwhile ---------------------------------------------------------


@pytest.mark.parametrize("point", ["mbox.rewrite", "mbox.sync.before"])
def test_what_a_program_without_locks_does_while_a_folder_is_written_is_kept(
    world: MboxWorld, refs: list[MessageRef], point: str
) -> None:
    mailbox = open_mailbox(world.specification)
    placed = place(mailbox, refs)
    acts: list[Callable[[], object]] = [
        lambda: world.deliver("INBOX", b"Subject: further\n\nx\n"),
        lambda: world.set_flags(refs[0], FLAGGED),
        lambda: world.remove(refs[1]),
    ]

    def hook(name: str) -> None:
        if name == point and acts:
            acts.pop(0)()

    install(hook)
    answers = mailbox.retire(placed)
    assert [type(answer) for answer in answers] == [Placed, MessageVanished, Placed]
    assert [(seen.raw, seen.flags.system) for seen in world.seen()] == [
        (NEW, FLAGGED.system),
        (NEW, frozenset({"seen"})),
        (b"Subject: further\n\nx\n", frozenset({"seen"})),
    ]


def test_a_folder_that_never_stands_still_waits_as_changed(
    world: MboxWorld, refs: list[MessageRef]
) -> None:
    mailbox = open_mailbox(world.specification)
    placed = place(mailbox, refs)

    def hook(name: str) -> None:
        if name == "mbox.sync.before":
            world.deliver("INBOX", b"Subject: further\n\nx\n")

    install(hook)
    answers = mailbox.retire(placed)
    install(None)
    assert all(type(answer) is MessageChanged for answer in answers)
    assert Counter(seen.raw for seen in world.seen())[OLD] == 3


def test_a_file_that_is_exchanged_or_cut_short_while_it_is_read_is_read_again(
    world: MboxWorld, refs: list[MessageRef]
) -> None:
    mailbox = open_mailbox(world.specification)
    assert len(list(mailbox.walk("INBOX"))) == 3
    path = world.path("INBOX")
    raw = path.read_bytes()
    (path.parent / "new").write_bytes(raw)
    (path.parent / "new").replace(path)
    assert mailbox.fetch(refs[2]).content.size == len(OLD)
    path.write_bytes(raw[: len(raw) * 3 // 5])
    with pytest.raises(MessageVanished):
        mailbox.fetch(refs[2])
    assert mailbox.fetch(refs[0]).content.size == len(OLD)
    path.unlink()
    with pytest.raises(MessageVanished):
        mailbox.fetch(refs[0])


@pytest.mark.usefixtures("_impatient")
def test_an_old_file_that_a_program_has_open_to_write_stays_until_it_is_closed(
    world: MboxWorld, refs: list[MessageRef]
) -> None:
    mailbox = open_mailbox(world.specification)
    placed = place(mailbox, refs)
    with world.path("INBOX").open("ab", 0) as file:
        assert all_placed(mailbox.retire(placed))
        assert len(waiting_in(world.root)) == 1
        file.write(LATE % (1, 1))
    mailbox.close()
    assert waiting_in(world.root) == []
    assert late(world.path("INBOX").read_bytes()).total() == 1


def with_late_twins(world: MboxWorld, point: str) -> tuple[bytes, list[Intent]]:
    """A file that was exchanged, and killed while two messages that came late are brought in.

    Both are in it already, byte for byte.
    """
    path = world.path("INBOX")
    refs = [world.deliver("INBOX", OLD) for _ in range(2)]
    twins = LATE % (1, 1) + LATE % (2, 2)
    with path.open("ab", 0) as file:
        file.write(twins)
    mailbox = open_mailbox(world.specification)
    placed = place(mailbox, refs)

    def retire() -> None:
        file = path.open("ab", 0)

        def hook(name: str) -> None:
            if name == "mbox.exchanged.after":
                file.write(twins)
                file.close()
            crash.hook_of(f"crash@{point}")(name)

        install(hook)
        mailbox.retire(placed)

    assert crash.in_child(retire) == (-signal.SIGKILL if point else 0)
    return twins, [one.written.intent for one in placed]


AT_LATE = ["mbox.begin.before", "mbox.begin.after", "mbox.deliver", "mbox.deliver.before"]
AT_LATE += ["mbox.deliver.after", "mbox.delivered.before", "mbox.delivered.after"]


@pytest.mark.parametrize("point", ["", *AT_LATE])
def test_a_late_delivery_that_equals_a_message_in_every_byte_counts(
    world: MboxWorld, point: str
) -> None:
    _, intents = with_late_twins(world, point)
    finish(open_mailbox(world.specification), intents)
    found = late(world.path("INBOX").read_bytes())
    assert found.total() == 4, found
    assert set(found.values()) == {2}
    assert waiting_in(world.root) == []


@pytest.mark.parametrize(
    ("size", "others"),
    [
        *((size, b"") for size in (1, 30, len(LATE), 2 * len(LATE) - 5)),
        *((size, LATE % (3, 3)) for size in (0, len(LATE % (1, 1)), 2 * len(LATE % (1, 1)))),
    ],
)
def test_of_a_late_delivery_that_a_kill_cut_what_is_missing_comes_in(
    world: MboxWorld, size: int, others: bytes
) -> None:
    """Whatever others deliver before the next run."""
    twins, intents = with_late_twins(world, "mbox.deliver")
    with world.path("INBOX").open("ab") as file:
        file.write(twins[:size] + others)
    finish(open_mailbox(world.specification), intents)
    found = late(world.path("INBOX").read_bytes())
    assert {found[b"Subject: late %d\n\nlate\n" % number] for number in (1, 2)} == {2}
    assert found[b"Subject: late 3\n\nlate\n"] == bool(others)


def test_nothing_of_a_message_is_anywhere_but_in_its_folder_afterwards(
    world: MboxWorld, refs: list[MessageRef]
) -> None:
    mailbox = open_mailbox(world.specification)
    all_placed(mailbox.retire(place(mailbox, refs)))
    written = write(mailbox, [next(iter(mailbox.walk("INBOX"))).ref], b"Subject: canary\n\nx\n")
    mailbox.abandon([one.intent for one in written])
    mailbox.close()
    assert [path.name for path in world.root.rglob("*")] == ["Inbox"]
