"""One large message passes through a whole move in little memory, as openssl streamed it.

Budget: 15 seconds, for one whole move of 36 MB; ``--all`` has every way and 64 MB.
"""

from __future__ import annotations

import base64
import hashlib
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from sectool.mime.limits import DEFAULT_LIMITS
from tests.support import checker
from tests.support.mailboxes import Keys, Mail, fill

MB = 1024 * 1024
HELD = DEFAULT_LIMITS.held_content
HEADROOM = 12 * MB
"""Address space a run may take for the large message beyond what it takes for a small one."""

HEAD = b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
ALGORITHMS = (pytest.param("-aes256", marks=pytest.mark.all_only), "-aes-128-gcm")

IN_PROCESS = """
import resource, sys, threading
threading.stack_size(256 * 1024)
limit = int(sys.argv[1])
if limit:
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
from sectool.cli.app import run_app
code = run_app(sys.argv[2:])
peak = next(line for line in open("/proc/self/status") if line.startswith("VmPeak"))
print(int(peak.split()[1]) * 1024)
sys.exit(code)
"""
"""Runs a command in one process with bounded address space; prints the most it had.

A thread that feeds a large content has 8 MB of stack, of which it uses little and which a small
message does not need: with it, and an arena of its own, hardly anything was left of ``HEADROOM``.
"""


@dataclass(frozen=True)
class Large:
    """A Maildir with one message whose content is large."""

    maildir: Path
    inner_sha256: str


def stored(inner: Path, keys: Keys, algorithm: str, directory: Path) -> bytes:
    """A message as a mail program stores it: the CMS streamed, so in BER, and in base64."""
    target = directory / "cms"
    subprocess.run(
        [
            *("openssl", "cms", "-encrypt", "-binary", "-stream", "-outform", "DER", algorithm),
            *("-in", inner, "-out", target, keys.old.certificate),
        ],
        check=True,
    )
    header = (
        b"From: a@example.org\nSubject: large\nMIME-Version: 1.0\n"
        b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\n"
        b"Content-Transfer-Encoding: base64\n\n"
    )
    return header + base64.encodebytes(target.read_bytes())


def make(directory: Path, keys: Keys, algorithm: str, size: int) -> Large:
    inner = directory / "inner"
    block = bytes(range(256)) * 4096
    inner.write_bytes(HEAD + (block * (size // len(block) + 1))[:size])
    digest = hashlib.sha256(inner.read_bytes()).hexdigest()
    raw = stored(inner, keys, algorithm, directory)
    maildir = directory / "Maildir"
    fill(maildir, [Mail("", f"cur/1300000001.M1P1.host,S={len(raw)}:2,S", raw)])
    return Large(maildir, digest)


Build = Callable[[str, int], Large]


@pytest.fixture(scope="module")
def size(whole: bool) -> int:
    """Bytes of a large content: a smaller one is held in memory while it is looked into."""
    return 2 * HELD if whole else HELD + 4 * MB


@pytest.fixture
def build(tmp_path: Path, keys: Keys) -> Build:
    def build(algorithm: str, size: int) -> Large:
        directory = tmp_path / f"{size}{algorithm}"
        directory.mkdir()
        return make(directory, keys, algorithm, size)

    return build


def phases(large: Large, keys: Keys, workers: int) -> list[list[str]]:
    job = large.maildir.parent / "job"
    common = ["--job", str(job), "--workers", str(workers), "--quiet"]
    return [
        ["scan", str(large.maildir), "--keys", str(keys.history), *common[2:]],
        ["decrypt", str(large.maildir), "--keys", str(keys.history), *common],
        ["encrypt", str(large.maildir), "--to", str(keys.new.certificate), *common],
    ]


def peaks(
    large: Large, keys: Keys, limits: list[int], more: Sequence[Sequence[str]] = ((), (), ())
) -> list[int]:
    """Address space in bytes that each command took, all in one process.

    Args:
        large: what is moved.
        keys: of its owner.
        limits: of each command, in bytes; 0: none.
        more: further words of each command.
    """
    found = []
    for arguments, limit, words in zip(phases(large, keys, workers=0), limits, more, strict=True):
        found.append(peak([*arguments, *words], limit))
    return found


def peak(arguments: Sequence[str], limit: int) -> int:
    """Address space in bytes that one command took, all in one process."""
    done = subprocess.run(
        [sys.executable, "-c", IN_PROCESS, str(limit), *arguments],
        env={**os.environ, "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (arguments[0], done.stderr.decode())
    return int(done.stdout)


def check_moved(large: Large, keys: Keys) -> None:
    (mail,) = checker.stored_mail(large.maildir)
    assert checker.inner_digests(mail.raw, [keys.new]) == (large.inner_sha256,)
    assert (mail.flags, mail.mtime_ns) == ("S", 1_300_000_000_123_456_789)
    checker.opened.cache_clear()


@pytest.mark.long
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_large_message_takes_little_more_memory_than_a_small_one(
    build: Build, keys: Keys, algorithm: str, size: int
) -> None:
    small = peaks(build(algorithm, 100_000), keys, [0, 0, 0])
    large = build(algorithm, size)
    peaks(large, keys, [peak + HEADROOM for peak in small])
    check_moved(large, keys)


@pytest.mark.all_only
def test_a_large_sealed_checkpoint_takes_little_more_memory_than_a_small_one(
    build: Build, keys: Keys, size: int
) -> None:
    seal_to = ("--seal-to", str(keys.transport.certificate))
    seal_keys = ("--seal-keys", str(keys.transport.private_key))
    sealing = ((), seal_to, seal_keys)
    small = peaks(build("-aes256", 100_000), keys, [0, 0, 0], sealing)
    large = build("-aes256", size)
    peaks(large, keys, [peak + HEADROOM for peak in small], sealing)
    check_moved(large, keys)
    (checkpoint,) = (large.maildir.parent / "job" / "checkpoints").glob("*.p7m")
    assert checkpoint.stat().st_size > size


@pytest.mark.all_only
def test_a_large_forward_opened_in_its_place_takes_little_more_memory_than_a_small_one(
    build: Build, keys: Keys, size: int
) -> None:
    def forwarded(content_size: int) -> Large:
        large = build("-aes256", content_size)
        (path,) = (large.maildir / "cur").iterdir()
        times = path.stat()
        header = b'Subject: forward\nContent-Type: multipart/mixed; boundary="outer"\n\n'
        parts = b"--outer\nContent-Type: message/rfc822\n\n", path.read_bytes(), b"\n--outer--\n"
        path.write_bytes(header + b"".join(parts))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        return large

    in_place = ((), ("--in-place", "--nested"), ())
    small = peaks(forwarded(100_000), keys, [0, 0, 0], in_place)
    large = forwarded(size)
    peaks(large, keys, [peak + 2 * HEADROOM for peak in small], in_place)
    check_moved(large, keys)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param((), id="kept", marks=pytest.mark.all_only),
        pytest.param(
            ("--or-reencrypt", "--profile=modern"),
            id="encrypted anew",
            marks=pytest.mark.all_only,
        ),
    ],
)
def test_exchanging_the_recipients_of_a_large_message_takes_little_memory(
    build: Build, keys: Keys, options: tuple[str, ...], size: int
) -> None:
    def exchange(large: Large, limit: int) -> int:
        job = str(large.maildir.parent / "job")
        words = ["rewrap", str(large.maildir), "--keys", str(keys.history), "--job", job]
        words += ["--to", str(keys.new.certificate), "--workers", "0", "--quiet"]
        return peak([*words, *options], limit)

    small = exchange(build("-aes256", 100_000), 0)
    large = build("-aes256", size)
    exchange(large, small + HEADROOM)
    check_moved(large, keys)


@pytest.mark.all_only
def test_worker_processes_move_a_large_message_in_little_memory(
    build: Build, keys: Keys, size: int
) -> None:
    large = build("-aes256", size)
    limit = partial(resource.setrlimit, resource.RLIMIT_AS, (512 * MB, 512 * MB))
    for arguments in phases(large, keys, workers=2):
        done = subprocess.run(
            [sys.executable, "-m", "sectool", *arguments],
            preexec_fn=limit,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (arguments[0], done.stderr.decode())
    check_moved(large, keys)


def test_a_large_message_that_ends_too_soon_leaves_nothing_behind(build: Build, keys: Keys) -> None:
    large = build("-aes256", 8 * MB)
    (path,) = (large.maildir / "cur").iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 4000])
    codes = [
        subprocess.run(
            [sys.executable, "-m", "sectool", *arguments], capture_output=True, check=False
        ).returncode
        for arguments in phases(large, keys, workers=0)[:2]
    ]
    assert codes == [0, 3]
    job = large.maildir.parent / "job"
    assert [path for path in (job / "checkpoints").rglob("*") if path.is_file()] == []
    shutil.rmtree(job)
