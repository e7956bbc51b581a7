"""The sample mailbox, a small one for jobs, and commands run as a person or a script would."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sectool.cli.app import run_app
from sectool.demo.sample import SampleManifest, sample_directory, unpack_maildir
from tests.support import crash
from tests.support.copies import copy_as_moved
from tests.support.documents import parsed

SMALL = {"readable": 6, "missing-key": 1, "clear": 2, "signed": 1}
"""How many messages of each state the small mailbox has."""


@dataclass(frozen=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on standard output, held against the schema."""
        return parsed(self.out)

    def is_one_error(self) -> bool:
        """Whether standard error is one error and one hint, and no traceback."""
        lines = self.err.splitlines()
        return (
            len(lines) == 2
            and re.match(r"sectool: error: ([^A-Z]|[A-Z]{2}).*[^.]$", lines[0]) is not None
            and re.match(r"sectool: hint: .+", lines[1]) is not None
        )


Run = Callable[..., Answer]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process; worker processes only where they are asked for."""
    for name in ("SECTOOL_PASSPHRASE", "_SECTOOL_COMPLETE"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> Answer:
        capfd.readouterr()
        code = run_app([str(argument) for argument in arguments])
        _let_be_looked_at()
        said = capfd.readouterr()
        return Answer(code, said.out, said.err)

    return call


def _let_be_looked_at() -> None:
    """A command makes its process closed to debuggers; this one has other tests to run."""
    if sys.platform == "linux":
        prctl_set_dumpable = 4
        ctypes.CDLL(None).prctl(prctl_set_dumpable, 1, 0, 0, 0)


@pytest.fixture
def run_in_fork(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a command in a fork of this process; see ``crash.command_in_child``."""
    out, err = (tmp_path_factory.mktemp("said") / name for name in ("out", "err"))

    def call(*arguments: object, **options: Any) -> Answer:
        code = crash.command_in_child(arguments, out, err, **options)
        return Answer(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))

    return call


@pytest.fixture
def run_process() -> Run:
    """Runs a command as a process of its own, where an interpreter has to start for the test."""

    def call(*arguments: object, **options: Any) -> Answer:
        done = subprocess.run(
            [sys.executable, "-m", "sectool", *map(str, arguments)],
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
            stdin=subprocess.DEVNULL,
            check=False,
        )
        out, err = done.stdout or b"", done.stderr or b""
        return Answer(done.returncode, out.decode(), err.decode())

    return call


@dataclass(frozen=True)
class Sample:
    """The sample mailbox, unpacked once; nobody writes to it."""

    maildir: Path
    small: Path
    """A Maildir of ten messages."""
    job: Path
    """Decrypting of ``small`` is finished on it."""
    keys: Path
    manifest: SampleManifest

    @property
    def history(self) -> tuple[str, ...]:
        """Options that name the old keys."""
        file = self.keys / "passphrase.txt"
        return ("--keys", str(self.keys / "old"), "--passphrase-file", str(file))

    @property
    def new(self) -> Path:
        """The new certificate."""
        return self.keys / "new" / "owner-new.pem"


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    place = tmp_path_factory.mktemp("sample")
    manifest = unpack_maildir(sample_directory(), place / "Maildir")
    _make_small(manifest, place / "small")
    keys = place / "keys"
    shutil.copytree(sample_directory() / "keys", keys)
    for name in ("passphrase.txt", "passphrases.csv"):
        (keys / name).chmod(0o600)
    made = Sample(place / "Maildir", place / "small", place / "job", keys, manifest)
    code = run_app(
        ["decrypt", str(made.small), *made.history, "--job", str(made.job), "--workers=0", "-q"]
    )
    assert code == 3
    return made


def _make_small(manifest: SampleManifest, target: Path) -> None:
    left = dict(SMALL)
    chosen = set()
    for number, message in enumerate(manifest.messages, 1):
        state = message.state_with_keys.value
        if message.folder == "INBOX" and left.get(state):
            left[state] -= 1
            chosen.add(f"M{number:06}P1")
    unpack_maildir(sample_directory(), target)
    for path in target.rglob("*"):
        if path.parent.name in {"cur", "new"} and path.name.split(".")[1] not in chosen:
            path.unlink()


@dataclass(frozen=True)
class Move:
    """A copy of the small mailbox and of the job that was decrypted from it."""

    maildir: Path
    job: Path


@pytest.fixture
def move(sample: Sample, tmp_path: Path) -> Move:
    shutil.copytree(sample.small, tmp_path / "Maildir")
    copy_as_moved(sample.job, tmp_path / "job")
    return Move(tmp_path / "Maildir", tmp_path / "job")
