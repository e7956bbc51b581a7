"""As root a key file is used only where nobody but its owner can have led root to it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sectool.errors import PassphraseError, SectoolError, UsageError
from sectool.keys import KeyHistory, KeySpecification, ProblemKind, load_key_history
from tests.support.mailboxes import make_key

pytestmark = pytest.mark.rights

Fixture = Any

USER, THIRD = 65534, 65533
"""Two users who are neither root nor each other."""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@dataclass(frozen=True)
class Place:
    """The home of a user with a key of theirs, and the key of somebody else."""

    home: Path
    own: Path
    theirs: Path
    """Of a third user; only they and root can read it."""

    def own_key(self) -> bytes:
        return self.own.read_bytes()


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made")
    for name in ("own", "theirs"):
        make_key(directory, name)
    return directory


@pytest.fixture
def place(made: Path, tmp_path: Path) -> Place:
    for name, user in (("home", USER), ("elsewhere", THIRD)):
        (tmp_path / name / "keys").mkdir(parents=True)
        for directory in (tmp_path / name, tmp_path / name / "keys"):
            os.chown(directory, user, user)
    own = copied(made / "own.key", tmp_path / "home" / "keys" / "own.key", USER)
    theirs = copied(made / "theirs.key", tmp_path / "elsewhere" / "keys" / "theirs.key", THIRD)
    return Place(tmp_path / "home", own, theirs)


def copied(source: Path, target: Path, user: int) -> Path:
    target.write_bytes(source.read_bytes())
    target.chmod(0o600)
    os.chown(target, user, user)
    return target


def loaded(*paths: Path, **changes: Any) -> KeyHistory:
    return load_key_history(KeySpecification(tuple(paths), **changes))


def names(history: KeyHistory) -> list[str]:
    return sorted(key.source.name for key in history.keys)


def left_out(path: Path, *others: Path, **changes: Any) -> str:
    """Why a path is not used by root; the key beside it is."""
    history = loaded(path, *others, **changes)
    (problem,) = history.problems
    assert problem.kind is ProblemKind.MISLEADING
    assert problem.withholds_key
    assert problem.hint
    return f"{problem.path}: {problem.reason}"


def user_link(link: Path, target: Path | str) -> Path:
    link.symlink_to(target)
    os.lchown(link, USER, USER)
    return link


@as_root
def test_what_a_user_owns_in_a_directory_of_theirs_is_used(place: Place) -> None:
    for path in (place.own, place.own.parent, place.home):
        history = loaded(path)
        assert (names(history), history.problems) == (["own.key"], ())


@as_root
@pytest.mark.parametrize("owner", [USER, 0])
@pytest.mark.parametrize("kind", ["link to a file", "link to a directory", "link on the way"])
def test_no_link_in_a_directory_of_a_user_is_followed(kind: str, owner: int, place: Place) -> None:
    link = place.home / "link"
    target = place.theirs if kind == "link to a file" else place.theirs.parent
    os.lchown(user_link(link, target), owner, owner)
    path = link / "theirs.key" if kind == "link on the way" else link
    assert "is a link that somebody else could have made" in left_out(path, place.own)


@as_root
def test_no_link_of_a_user_in_a_sticky_directory_is_followed(place: Place, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    link = user_link(shared / "link", place.theirs)
    assert "is a link" in left_out(link, place.own)
    os.lchown(link, 0, 0)
    assert names(loaded(link)) == ["link"]


@as_root
def test_links_of_root_in_directories_of_root_are_followed(place: Place, tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to("home/../way2")
    (tmp_path / "way2").symlink_to(tmp_path / "home" / "keys")
    assert names(loaded(tmp_path / "way")) == ["own.key"]
    assert names(loaded(tmp_path / "way" / "own.key")) == ["own.key"]
    tmp_path.chmod(0o777)
    assert "is a link" in left_out(tmp_path / "way", place.own)


@as_root
def test_a_second_name_of_somebody_elses_file_is_not_used(place: Place, tmp_path: Path) -> None:
    """As a user gives it where ``fs.protected_hardlinks`` is off."""
    planted = place.home / "keys" / "planted.key"
    planted.hardlink_to(place.theirs)
    for path in (planted, planted.parent):
        assert f"{planted}: root does not use it: it belongs to " in left_out(path, place.own)
    planted.unlink()
    roots = copied(place.theirs, tmp_path / "root.key", 0)
    for mode in (0o777, 0o1777):
        shared = tmp_path / f"shared {mode}"
        shared.mkdir()
        shared.chmod(mode)
        (shared / "planted.key").hardlink_to(roots)
        assert "another name elsewhere" in left_out(shared / "planted.key", place.own)


@as_root
def test_a_directory_of_a_third_user_on_the_way_is_not_used(place: Place) -> None:
    inner = place.home / "keys" / "inner"
    inner.mkdir()
    os.chown(inner, THIRD, THIRD)
    copied(place.theirs, inner / "theirs.key", THIRD)
    for path in (inner, inner / "theirs.key", place.home):
        assert f"it belongs to uid {THIRD}, and its directory to " in left_out(path, place.own)


@as_root
def test_where_nothing_else_is_given_the_run_ends_as_with_a_file_that_stays_shut(
    place: Place,
) -> None:
    link = user_link(place.home / "link", place.theirs)
    with pytest.raises(PassphraseError, match="root does not use it") as caught:
        loaded(link)
    assert caught.value.exit_code == 12


def test_what_is_no_file_is_told_and_does_not_hang(tmp_path: Path, made: Path) -> None:
    os.mkfifo(tmp_path / "pipe.key")
    (tmp_path / "ring").symlink_to("ring2")
    (tmp_path / "ring2").symlink_to("ring")
    for path in (tmp_path / "pipe.key", Path("/dev/null"), Path("/dev/zero")):
        (problem,) = loaded(path, made / "own.key").problems
        assert "not a regular file" in problem.reason
    assert names(loaded(tmp_path, made / "own.key")) == ["own.key"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root follows no links of others")
def test_whoever_is_not_root_follows_every_link(made: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").symlink_to(made)
    (tmp_path / "link.key").symlink_to("keys/own.key")
    assert names(loaded(tmp_path / "link.key")) == ["link.key"]
    assert names(loaded(tmp_path / "keys")) == ["own.key", "theirs.key"]


# --- exchanges ---------------------------------------------------------------------------------

_hooks: list[Callable[[], None]] = []


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if event in {"open", "os.scandir"}:
        for hook in tuple(_hooks):
            hook()


@pytest.fixture
def before_opening() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Has something done before every file or directory that this process opens."""
    if not getattr(sys, "_sectool_hears_opening", False):
        sys.addaudithook(_heard)
        sys._sectool_hears_opening = True  # type: ignore[attr-defined]
    yield _hooks.append
    _hooks.clear()


EXCHANGES: dict[str, tuple[str, str]] = {
    "the file by a link": ("keys/own.key", "elsewhere/keys/theirs.key"),
    "the directory by a link": ("keys", "elsewhere/keys"),
}


def exchange(place: Place, what: str) -> Callable[[], None]:
    """Puts a link to the other key in the place of one's own, or takes it away again."""
    name, target = EXCHANGES[what]
    path = place.home / name
    spare, link = place.home / "spare", place.home / "link"
    user_link(link, place.home.parent / target)

    def turn() -> None:
        if path.is_symlink():
            path.rename(link)
            spare.rename(path)
        else:
            path.rename(spare)
            link.rename(path)

    return turn


@as_root
@pytest.mark.parametrize("named", ["keys/own.key", "keys", ""])
@pytest.mark.parametrize("what", EXCHANGES)
def test_an_exchange_before_any_step_gains_nothing(
    what: str, named: str, place: Place, before_opening: Fixture
) -> None:
    (place.theirs.parent / "own.key").write_bytes(place.theirs.read_bytes())
    os.chown(place.theirs.parent / "own.key", THIRD, THIRD)
    stolen = loaded(place.theirs).keys[0].public_key_digest
    own = loaded(place.own).keys[0].public_key_digest
    turn = exchange(place, what)
    seen: set[str] = set()
    number = steps = 0
    # The last time nothing is exchanged.
    while number <= steps + 1:
        passed = 0

        def at_step(wanted: int = number) -> None:
            nonlocal passed
            passed += 1
            if passed == wanted + 1:
                turn()

        before_opening(at_step)
        try:
            history = loaded(place.home / named)
            seen |= {key.public_key_digest for key in history.keys}
        except SectoolError:
            pass
        finally:
            _hooks.clear()
        if passed > number:
            turn()
        steps, number = max(steps, passed - 1), number + 1
    assert steps > 4
    assert stolen not in seen
    assert own in seen


@as_root
def test_exchanges_by_another_process_gain_nothing(place: Place) -> None:
    stolen = loaded(place.theirs).keys[0].public_key_digest
    exchange(place, "the file by a link")
    home = os.open(place.home, os.O_RDONLY | os.O_DIRECTORY)
    child = os.fork()
    if not child:
        try:
            os.fchdir(home)
            os.setgroups([])
            os.setgid(USER)
            os.setuid(USER)
            while True:
                for source, target in (
                    ("keys/own.key", "spare"),
                    ("link", "keys/own.key"),
                    ("keys/own.key", "link"),
                    ("spare", "keys/own.key"),
                ):
                    Path(source).rename(target)
        finally:
            os._exit(1)  # else the tests would go on in two processes
    os.close(home)
    ended: dict[str, int] = {}
    try:
        for trial in range(40_000):
            if trial >= 400 and len(ended) > 1:
                break
            try:
                history = loaded(place.home / "keys" / "own.key")
            except SectoolError as error:
                ended[type(error).__name__] = ended.get(type(error).__name__, 0) + 1
                continue
            assert stolen not in {key.public_key_digest for key in history.keys}
            ended["own"] = ended.get("own", 0) + 1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert len(ended) > 1, "nothing was exchanged"


# --- files with secrets ---------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "words"), [(0o644, "everybody"), (0o640, "group"), (0o600, "")])
def test_a_file_with_a_secret_that_others_can_read_is_told_and_used(
    mode: int, words: str, made: Path, tmp_path: Path
) -> None:
    if words == "group" and os.geteuid() != 0:
        pytest.skip("the group of whoever runs this may have no other member")
    files = {name: tmp_path / name for name in ("passphrase_file", "passphrases", "secrets")}
    files["passphrase_file"].write_text("secret\n")
    files["passphrases"].write_text("own.key,secret\n")
    files["secrets"].write_text("password,,secret\n")
    for file in files.values():
        file.chmod(mode)
        if os.geteuid() == 0:
            os.chown(file, 0, 100)
    history = loaded(made / "own.key", **files)
    told = {problem.path.name: problem for problem in history.problems}
    assert set(told) == (set(files) if words else set())
    for problem in told.values():
        assert words in problem.reason
        assert problem.kind is ProblemKind.EXPOSED
        assert not problem.withholds_key
        assert f"chmod 600 {problem.path}" in problem.hint
    assert names(history) == ["own.key"]


@as_root
def test_a_secret_of_another_user_is_told(made: Path, tmp_path: Path) -> None:
    secret = copied(made / "own.key", tmp_path / "pass.txt", USER)
    (problem,) = loaded(made / "own.key", passphrase_file=secret).problems
    assert problem.reason.startswith("it belongs to ")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a pipe to another user")
def test_a_pipe_of_another_user_in_the_place_of_a_secret_does_not_hang(
    made: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pass.txt"
    os.mkfifo(pipe)
    os.chown(pipe, USER, USER)
    with pytest.raises(UsageError, match="a pipe of somebody else's"):
        load_key_history(KeySpecification((made,), passphrase_file=pipe))
