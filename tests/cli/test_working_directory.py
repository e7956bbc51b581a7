"""The command in a stranger's directory: nothing of it is run, no child learns a secret (G9)."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.metadata
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.cli.conftest import Move, Sample

SECTOOL = Path(sysconfig.get_path("scripts")) / "sectool"
"""The command itself: ``python -m`` takes modules from the working directory."""

NOBODY = 65534
SECRET = "a secret that nobody else may see"

pytestmark = [
    pytest.mark.rights,
    pytest.mark.skipif(not SECTOOL.exists(), reason="sectool is not installed here"),
]


def importable() -> list[str]:
    """Whatever could be imported here: the standard library, and what is installed."""
    return sorted({*sys.stdlib_module_names, *importlib.metadata.packages_distributions()})


FORMS = ("module", "package", "library")


def plant(place: Path, name: str, form: str, mark: Path) -> None:
    code = f"open({str(mark)!r}, 'a').write(__name__ + chr(10))\n"
    if form == "module":
        (place / f"{name}.py").write_text(code)
    elif form == "package":
        (place / name).mkdir()
        (place / name / "__init__.py").write_text(code)
    else:  # no library at all: whoever imports it fails
        for suffix in importlib.machinery.EXTENSION_SUFFIXES:
            (place / f"{name}{suffix}").write_text("planted")


@pytest.fixture
def strange(tmp_path: Path) -> Path:
    """A working directory that belongs to somebody else where the one who tests may give away."""
    place = tmp_path / "strange"
    place.mkdir()
    place.chmod(0o777)
    if os.geteuid() == 0:
        os.chown(place, NOBODY, NOBODY)
    return place


def words_of(command: str, sample: Sample, move: Move) -> list[str]:
    """A command that starts two worker processes, if any."""
    new = ("--verify-keys", sample.new.parent)
    words: dict[str, tuple[object, ...]] = {
        "scan": (move.maildir, *sample.history),
        "decrypt": (move.maildir, *sample.history, "--job", f"{move.job}-2"),
        "encrypt": (move.maildir, "--to", sample.new, "--job", move.job),
        "rewrap": (move.maildir, *sample.history, "--to", sample.new, "--job", f"{move.job}-2"),
        "verify": (move.job, move.maildir, *new),
        "rollback": (move.job, move.maildir),
        "purge": (move.job, move.maildir, *new, "--dry-run"),
        "keys": (sample.keys / "old", *sample.history[2:], "--mailbox", move.maildir),
    }
    return [command, *map(str, words[command]), "--workers", "2"]


COMMANDS = ("decrypt", "scan", "encrypt", "rewrap", "verify", "rollback", "purge", "keys")


@dataclass
class Seen:
    """What was seen of one process while it ran."""

    command_line: str = ""
    environment: str = ""
    """Empty where it may not be read."""
    descriptors: dict[str, str] = field(default_factory=dict)


@dataclass
class Watched:
    """A command that ran to its end, and the processes that it started."""

    code: int
    error: str
    processes: dict[int, Seen]
    sockets: set[str]
    """Paths of all that were bound meanwhile, on the whole machine."""

    def of(self, part: str) -> list[Seen]:
        return [seen for seen in self.processes.values() if part in seen.command_line]


def look_below(process: int, found: dict[int, Seen]) -> None:
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return
    for number in map(int, children):
        seen = found.setdefault(number, Seen())
        place = Path(f"/proc/{number}")
        with contextlib.suppress(OSError):
            seen.command_line = (place / "cmdline").read_bytes().decode() or seen.command_line
            if str(SECTOOL) in seen.command_line:  # it is still becoming what it will be
                continue
            for descriptor in (place / "fd").iterdir():
                seen.descriptors[descriptor.name] = str(descriptor.readlink())
            seen.environment = (place / "environ").read_bytes().decode() or seen.environment
        look_below(number, found)


def watch(words: Sequence[str], place: Path, **environment: str) -> Watched:
    """Runs a command and looks at all below it until it ends."""
    found: dict[int, Seen] = {}
    sockets: set[str] = set()
    with subprocess.Popen(
        [SECTOOL, *words],
        cwd=place,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        while process.poll() is None:
            look_below(process.pid, found)
            for line in Path("/proc/net/unix").read_text().splitlines():
                sockets.update(line.split(" ")[-1:] if "/pymp-" in line else ())
            time.sleep(0.002)
        return Watched(process.returncode, process.stderr.read().decode(), found, sockets)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(name, marks=() if name == "decrypt" else pytest.mark.all_only)
        for name in COMMANDS
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look into hardened processes")
def test_a_command_runs_nothing_of_where_it_is_started_and_its_processes_know_no_secret(
    command: str, sample: Sample, move: Move, strange: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "imported"
    for number, name in enumerate(importable(), COMMANDS.index(command)):
        plant(strange, name, FORMS[number % 3], mark)
    if command in {"verify", "purge", "rollback"}:
        words = words_of("encrypt", sample, move)
        assert subprocess.run([SECTOOL, *words, "-q"], check=False).returncode == 3

    words = [*words_of(command, sample, move)]
    secrets = {"SECTOOL_PASSPHRASE": SECRET, "SECTOOL_PIN": SECRET}
    run = watch(words, strange, TMPDIR=str(strange), **secrets)

    assert not mark.exists(), mark.read_text()
    assert run.code in {0, 3}, run.error
    assert "error" not in run.error
    servers, trackers = run.of("forkserver"), run.of("resource_tracker")
    assert servers, "no worker process was started"
    assert trackers
    for process in run.processes.values():
        assert SECRET not in process.environment
        assert SECRET not in process.command_line
        assert set(process.descriptors.items()) >= {(n, os.devnull) for n in "012"}
        # Workers open what they work on, and nobody has what the parent opened.
        names = {Path(place).name for place in process.descriptors.values()}
        assert not names & {"job.db", "job.db-journal", "lock"}
    for process in trackers:
        assert not any(str(tmp_path) in place for place in process.descriptors.values())
    # The socket lies where nobody else could exchange it.
    assert run.sockets
    assert not any(socket.startswith(str(tmp_path)) for socket in run.sockets)


SHOWS = "#!/bin/sh\nenv > {facts}\necho {passphrase}\n"


def test_a_passphrase_command_learns_no_secret_and_is_not_taken_from_where_it_is_started(
    sample: Sample, strange: Path, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    passphrase = (sample.keys / "passphrase.txt").read_text().strip()
    for place, name in ((tools, "told"), (strange, "planted")):
        command = place / "show-passphrase"
        command.write_text(SHOWS.format(facts=tmp_path / name, passphrase=passphrase))
        command.chmod(0o755)
    words = ["keys", str(sample.keys / "old"), "--passphrase-command", "show-passphrase"]
    search = os.pathsep.join(["", ".", str(tools), os.environ["PATH"]])
    run = watch(words, strange, PATH=search, SECTOOL_PASSPHRASE=SECRET, SECTOOL_PIN=SECRET)
    assert run.code == 0, run.error
    assert not (tmp_path / "planted").exists()
    assert SECRET not in (tmp_path / "told").read_text()
