"""Exit code 22: nobody but root and whoever runs a command can change what it works on.

Attacks of a user who owns, or may write to, the job directory or what leads to it, on root.
The other user is uid 65534; what needs no other user holds for anybody who runs these tests.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.rights

Fixture = Any

OTHER = 65534
"""A user who is neither root nor whoever runs the tests."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")

_READ, _WRITE, _EXECUTE = 4, 2, 1


def commands(move: Fixture, sample: Fixture, job: Path | None = None) -> dict[str, list[object]]:
    """Every command that takes a job directory, and a dry run."""
    job = job or move.job
    decrypt = ["decrypt", move.maildir, *sample.history, "--job", job, "--workers=0"]
    return {
        "status": ["status", job],
        "decrypt": decrypt,
        "dry run": [*decrypt, "--dry-run"],
        "encrypt": ["encrypt", move.maildir, "--job", job, "--to", sample.new, "--workers=0"],
        "rewrap": [
            *("rewrap", move.maildir, *sample.history, "--to", sample.new, "--job", job),
            "--workers=0",
        ],
        "verify": ["verify", job, "--workers=0"],
        "verify elsewhere": ["verify", job, move.maildir, "--workers=0"],
        "rollback": ["rollback", job, "--workers=0"],
        "purge": ["purge", job, "--abandon", "--workers=0"],
    }


def everything(*places: Path) -> dict[Path, tuple[bytes, int, int]]:
    """All files below: bytes, mode and owner."""
    return {
        path: (
            path.read_bytes() if path.is_file() and not path.is_symlink() else b"",
            path.lstat().st_mode,
            path.lstat().st_uid,
        )
        for place in places
        for path in place.rglob("*")
    }


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory of somebody who has nothing to do with the job."""
    directory = tmp_path / "victim"
    directory.mkdir(mode=0o700)
    (directory / "letter").write_text("dear diary")
    (directory / "letter").chmod(0o600)
    return directory


def link(path: Path, target: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


def link_to_own_copy(path: Path, victim: Path) -> None:
    """What was there, at another place."""
    target = victim / path.name
    path.rename(target) if path.exists() else target.touch()
    path.symlink_to(target)


def second_name(path: Path, victim: Path) -> None:
    """As a user makes it where ``fs.protected_hardlinks`` is off."""
    path.unlink(missing_ok=True)
    path.hardlink_to(victim / "letter")


def pipe(path: Path, victim: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path, 0o600)


def writable(path: Path, victim: Path) -> None:
    if not path.exists():
        path.touch()
    path.chmod(path.stat().st_mode | 0o002)


FILES = ("job.db", "job.db-journal", "job.db-wal", "job.db-shm", "status.json", "lock")
DIRECTORIES = ("checkpoints", "checkpoints/incoming", "originals", "spool")
PLANTED: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    **{f"{name} is a link": (name, link) for name in DIRECTORIES},
    **{f"{name} is a link": (name, link_to_own_copy) for name in FILES},
    **{f"{name} is somebody's file": (name, second_name) for name in FILES},
    **{f"{name} is a pipe": (name, pipe) for name in FILES},
    **{f"{name} is for all to write": (name, writable) for name in (*FILES, *DIRECTORIES)},
}


@pytest.mark.parametrize("attack", PLANTED)
def test_what_is_planted_in_a_job_directory_is_refused_and_nothing_elsewhere_is_touched(
    attack: str, run: Fixture, sample: Fixture, move: Fixture, victim: Path
) -> None:
    name, plant = PLANTED[attack]
    plant(move.job / name, victim)
    before = everything(move.job, move.maildir, victim)
    for words in commands(move, sample).values():
        answer = run(*words)
        assert (answer.code, answer.is_one_error()) == (22, True), words
        assert name.rpartition("/")[2] in answer.err
    assert everything(move.job, move.maildir, victim) == before


@as_root
@pytest.mark.parametrize("name", [*FILES, *DIRECTORIES])
def test_what_another_user_owns_in_a_job_directory_is_refused(
    name: str, run: Fixture, sample: Fixture, move: Fixture
) -> None:
    path = move.job / name
    if name in DIRECTORIES:
        path.mkdir(mode=0o700, exist_ok=True)
    else:
        path.touch(mode=0o600)
    os.chown(path, OTHER, OTHER)
    before = everything(move.job, move.maildir)
    for words in commands(move, sample).values():
        answer = run(*words)
        assert (answer.code, answer.is_one_error()) == (22, True), words
        assert f"{path} belongs to " in answer.err
    assert everything(move.job, move.maildir) == before


@as_root
def test_root_does_not_work_on_the_job_of_another_user(
    run: Fixture, sample: Fixture, move: Fixture
) -> None:
    for path in (move.job, *move.job.rglob("*")):
        os.chown(path, OTHER, OTHER)
    before = everything(move.job, move.maildir)
    for words in commands(move, sample).values():
        answer = run(*words)
        assert (answer.code, answer.is_one_error()) == (22, True), words
        assert "/var/lib/sectool/" in answer.err
    several = run("status", move.job, sample.job, "--json")
    assert several.code == 22
    assert [one.get("error", {}).get("code") for one in several.document["jobs"]] == [22, None]
    assert everything(move.job, move.maildir) == before


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o755, 0o740, 0o701, 0o1777])
def test_a_job_directory_that_is_not_private_is_refused_until_the_hint_is_followed(
    mode: int, run: Fixture, sample: Fixture, move: Fixture
) -> None:
    move.job.chmod(mode)
    before = everything(move.job, move.maildir)
    for words in commands(move, sample).values():
        answer = run(*words)
        assert (answer.code, answer.is_one_error()) == (22, True), words
        assert f"chmod 700 {move.job}" in answer.err
    assert everything(move.job, move.maildir) == before
    move.job.chmod(0o700)
    assert run("status", move.job).code == 0


def test_an_empty_directory_that_others_can_read_does_not_become_a_job(
    run: Fixture, sample: Fixture, move: Fixture, tmp_path: Path
) -> None:
    directory = tmp_path / "made by hand"
    directory.mkdir(mode=0o755)
    answer = run(*commands(move, sample, directory)["decrypt"])
    assert (answer.code, answer.is_one_error()) == (22, True)
    assert list(directory.iterdir()) == []
    directory.chmod(0o700)
    assert run(*commands(move, sample, directory)["decrypt"]).code == 3


def placed_below(parent: Path, move: Fixture) -> Path:
    parent.mkdir()
    job = parent / "job"
    move.job.rename(job)
    return job


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("mode", [0o777, 0o707, 0o702])
def test_a_directory_on_the_way_that_all_may_write_to_is_refused(
    depth: int, mode: int, run: Fixture, sample: Fixture, move: Fixture, tmp_path: Path
) -> None:
    job = placed_below(tmp_path / "open", move)
    if depth == 2:
        inner = tmp_path / "open" / "inner"
        inner.mkdir()
        job = job.rename(inner / "job")
    (tmp_path / "open").chmod(mode)
    for place in (job, tmp_path / "open" / "new" / "job"):
        for name, words in commands(move, sample, place).items():
            answer = run(*words)
            assert (answer.code, answer.is_one_error()) == (22, True), name
            assert f"-w {tmp_path / 'open'}" in answer.err
    assert not (tmp_path / "open" / "new").exists()
    (tmp_path / "open").chmod(0o755)
    assert run("status", job).code == 0


@as_root
def test_a_directory_on_the_way_that_is_another_users_is_refused(
    run: Fixture, sample: Fixture, move: Fixture, tmp_path: Path
) -> None:
    job = placed_below(tmp_path / "home", move)
    os.chown(tmp_path / "home", OTHER, OTHER)
    for name, words in commands(move, sample, job).items():
        answer = run(*words)
        assert (answer.code, answer.is_one_error()) == (22, True), name
        assert f"the directory {tmp_path / 'home'} belongs to " in answer.err
        assert "hint: run it as `sudo -u " in answer.err


@as_root
@pytest.mark.parametrize("what", ["link", "directory"])
def test_what_somebody_else_made_in_a_sticky_directory_is_refused(
    what: str, run: Fixture, sample: Fixture, move: Fixture, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    if what == "link":
        (shared / "way").symlink_to(tmp_path)
    else:
        (shared / "way").mkdir(mode=0o700)
        move.job.rename(shared / "way" / "job")
    job = shared / "way" / "job"
    assert run("status", job).code == 0
    os.lchown(shared / "way", OTHER, OTHER)
    for name, words in commands(move, sample, job).items():
        answer = run(*words)
        assert (answer.code, answer.is_one_error()) == (22, True), name
        assert str(shared / "way") in answer.err


def test_a_link_of_ones_own_leads_to_the_job_and_the_real_path_is_used(
    run: Fixture, move: Fixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").symlink_to("..", target_is_directory=True)
    (tmp_path / "link").symlink_to(f"here/{tmp_path.name}/./job/../job")
    monkeypatch.chdir(tmp_path)
    for path in ("link", tmp_path / "link", f"here/{tmp_path.name}/link/", "job/../link"):
        document = run("status", path, "--json").document
        assert document["job"] == str(move.job)


def test_a_link_that_leads_through_an_open_directory_is_refused(
    run: Fixture, sample: Fixture, move: Fixture, tmp_path: Path
) -> None:
    job = placed_below(tmp_path / "open", move)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(job)
    for words in commands(move, sample, tmp_path / "link").values():
        assert run(*words).code == 22


def test_links_in_a_ring_are_an_error_of_usage(run: Fixture, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    answer = run("status", tmp_path / "a")
    assert (answer.code, answer.is_one_error()) == (2, True)


# --- groups and access lists ---------------------------------------------------------------


@as_root
def test_a_directory_of_a_team_is_trusted_where_the_team_is_named(
    run: Fixture, sample: Fixture, move: Fixture, tmp_path: Path
) -> None:
    import grp

    team = grp.getgrnam("users")
    job = placed_below(tmp_path / "team", move)
    for directory, mode in ((tmp_path / "team", 0o2775), (job, 0o2770)):
        os.chown(directory, 0, team.gr_gid)
        directory.chmod(mode)
    for words in commands(move, sample, job).values():
        refused = run(*words)
        assert (refused.code, refused.is_one_error()) == (22, True)
        assert "--trust-group users" in refused.err
        assert run(*words, "--trust-group", "daemon").code == 22
    for name in ("status", "verify", "encrypt"):
        assert run(*commands(move, sample, job)[name], "--trust-group", "users").code in {0, 3}
    job.chmod(0o2777)
    assert run("status", job, "--trust-group", "users").code == 22
    assert run("status", job, "--trust-group", "no such group").code == 2


def test_a_group_whose_only_member_is_the_owner_may_write(
    run: Fixture, move: Fixture, tmp_path: Path
) -> None:
    import grp
    import pwd

    job = placed_below(tmp_path / "mine", move)
    (tmp_path / "mine").chmod(0o775)
    group = (tmp_path / "mine").stat().st_gid
    others = [one.pw_name for one in pwd.getpwall() if one.pw_gid == group]
    others += grp.getgrgid(group).gr_mem
    is_private = {pwd.getpwnam(name).pw_uid for name in others} == {os.geteuid()}
    assert run("status", job).code == (0 if is_private else 22)


def access_list(directory: Path, user: int) -> None:
    """Lets a user write to a directory; the group bits of its mode are the mask then."""
    entries = [
        (0x01, _READ | _WRITE | _EXECUTE, 0xFFFFFFFF),
        (0x02, _READ | _WRITE | _EXECUTE, user),
        (0x04, _READ | _EXECUTE, 0xFFFFFFFF),
        (0x10, _READ | _WRITE | _EXECUTE, 0xFFFFFFFF),
        (0x20, _READ | _EXECUTE, 0xFFFFFFFF),
    ]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(directory, "system.posix_acl_access", value)
    except OSError as error:
        pytest.skip(f"no access lists here: {error.strerror}")


def test_an_access_list_that_lets_another_user_write_is_not_taken_for_a_private_group(
    run: Fixture, sample: Fixture, move: Fixture, tmp_path: Path
) -> None:
    job = placed_below(tmp_path / "mine", move)
    access_list(tmp_path / "mine", OTHER)
    for words in commands(move, sample, job).values():
        answer = run(*words)
        assert (answer.code, answer.is_one_error()) == (22, True)
    (tmp_path / "mine").chmod(0o755)
    assert run("status", job).code == 0


# --- a journal ---------------------------------------------------------------------------------


def journal_of_another_log(job: Path, place: Path) -> bytes:
    """A hot journal whose pages say that the job has another mailbox."""
    forged = place / "forged.db"
    shutil.copy(job / "job.db", forged)
    child = os.fork()
    if not child:
        connection = sqlite3.connect(forged, isolation_level=None)
        connection.execute("UPDATE job SET value = 'maildir:/attacker' WHERE name = 'mailbox'")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN")
        connection.execute("UPDATE job SET value = 'x' WHERE name = 'mailbox'")
        connection.execute("UPDATE message SET reason = hex(randomblob(400))")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    return forged.with_name("forged.db-journal").read_bytes()


def mailbox_in(log: Path) -> str:
    connection = sqlite3.connect(log)
    try:
        (value,) = connection.execute("SELECT value FROM job WHERE name = 'mailbox'").fetchone()
        return str(value)
    finally:
        connection.close()


@as_root
def test_a_planted_journal_rolls_nothing_into_the_log(
    run: Fixture, sample: Fixture, move: Fixture, victim: Path
) -> None:
    journal = journal_of_another_log(move.job, victim)
    shutil.copy(move.job / "job.db", victim / "copy.db")
    (victim / "copy.db-journal").write_bytes(journal)
    assert mailbox_in(victim / "copy.db") == "maildir:/attacker", "no attack"
    planted = move.job / "job.db-journal"
    planted.write_bytes(journal)
    os.chown(planted, OTHER, OTHER)
    before = (move.job / "job.db").read_bytes()
    for words in commands(move, sample).values():
        assert run(*words).code == 22
    assert (move.job / "job.db").read_bytes() == before
    assert planted.read_bytes() == journal


# --- exchanges -----------------------------------------------------------------------------------

_hooks: list[Callable[[str, tuple[Any, ...]], None]] = []


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    for hook in tuple(_hooks):
        hook(event, arguments)


@pytest.fixture
def just_before() -> Iterator[Callable[[str, str, Callable[[], None]], None]]:
    """Does something just before a system call that Python audits, once."""
    if not getattr(sys, "_sectool_hears", False):
        sys.addaudithook(_heard)
        sys._sectool_hears = True  # type: ignore[attr-defined]

    def arrange(call: str, name: str, act: Callable[[], None]) -> None:
        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if event == call and Path(os.fsdecode(arguments[0])).name == name:
                _hooks.remove(hook)
                act()

        _hooks.append(hook)

    yield arrange
    _hooks.clear()


@as_root
@pytest.mark.parametrize("path", ["job", "above/job", "above/further/job"])
@pytest.mark.parametrize("what", ["link", "directory", "full directory"])
def test_who_is_quicker_in_a_sticky_directory_gets_nothing_made_elsewhere(
    path: str,
    what: str,
    run: Fixture,
    sample: Fixture,
    move: Fixture,
    victim: Path,
    tmp_path: Path,
    just_before: Fixture,
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    taken = shared / Path(path).parts[0]

    def be_quicker() -> None:
        if what == "link":
            taken.symlink_to(victim)
        else:
            taken.mkdir()
            if what == "full directory":
                (taken / "job.db").symlink_to(victim / "letter")
        os.lchown(taken, OTHER, OTHER)

    before = everything(victim, move.maildir)
    just_before("os.mkdir", taken.name, be_quicker)
    answer = run(*commands(move, sample, shared / path)["decrypt"])
    assert taken.lstat().st_uid == OTHER, "no attack"
    assert (answer.code, answer.is_one_error()) == (22, True)
    assert everything(victim, move.maildir) == before
    assert sorted(taken.iterdir()) == [taken / "job.db"] * (what == "full directory") or (
        taken.is_symlink()
    )


def as_another_user(act: Callable[[], bool]) -> bool:
    """What a function answers in a process of the other user."""
    child = os.fork()
    if not child:
        answered = 2
        try:
            os.setgroups([])
            os.setgid(OTHER)
            os.setuid(OTHER)
            answered = int(act())
        finally:
            os._exit(answered)
    return {0: False, 1: True}[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])]


@as_root
def test_nobody_else_can_exchange_a_part_of_a_way_that_was_found_safe(
    run: Fixture, move: Fixture
) -> None:
    assert run("status", move.job).code == 0
    way = [move.job, *move.job.parents[:-1], *(move.job / name for name in DIRECTORIES)]
    above = {path: os.open(path.parent, os.O_PATH) for path in way}

    def exchange_any() -> bool:
        for path, directory in above.items():
            places = {"src_dir_fd": directory, "dst_dir_fd": directory}
            try:
                os.rename(path.name, f"{path.name}.exchanged", **places)  # noqa: PTH104
            except OSError:
                continue
            return True
        return False

    try:
        assert not as_another_user(exchange_any)
        move.job.parent.chmod(0o777)
        assert as_another_user(exchange_any), "the test shows nothing"
    finally:
        for directory in above.values():
            os.close(directory)


# --- what else a command writes -------------------------------------------------------------------


def test_the_demo_plays_in_no_directory_that_others_may_write_to(
    run: Fixture, tmp_path: Path
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for directory in (tmp_path / "open", tmp_path / "open" / "demo"):
        answer = run("demo", directory)
        assert (answer.code, answer.is_one_error()) == (22, True)
    assert list((tmp_path / "open").iterdir()) == []


def test_an_original_that_is_there_already_counts_by_its_digest_alone(
    run: Fixture, sample: Fixture, move: Fixture, victim: Path, tmp_path: Path
) -> None:
    """A file or link under the name of an original is not taken for it."""
    other = tmp_path / "other"
    shutil.copytree(move.maildir, other)
    words = commands(move, sample)["encrypt"]
    assert run(*words).code == 3
    names = [path.name for path in (move.job / "originals").iterdir()]
    kept = {name: (move.job / "originals" / name).read_bytes() for name in names}
    shutil.rmtree(move.maildir)
    other.rename(move.maildir)
    job = tmp_path / "second"
    assert run(*commands(move, sample, job)["decrypt"]).code == 3
    for number, name in enumerate(names):
        planted = job / "originals" / name
        planted.write_text("another") if number % 2 else planted.symlink_to(victim / "letter")
    assert run(*commands(move, sample, job)["encrypt"]).code == 3
    assert {name: (job / "originals" / name).read_bytes() for name in names} == kept
    assert (victim / "letter").read_text() == "dear diary"
    assert run("rollback", job, "--workers=0").code == 3
