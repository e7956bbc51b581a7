"""Every exit code of the contract that this version reaches, each by a real situation."""

from __future__ import annotations

import ctypes
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sectool.cli.app import EXIT_CODES
from sectool.locks import Lock

Fixture = Any


@dataclass(frozen=True)
class Place:
    """What the situations are made of."""

    sample: Fixture
    maildir: Path
    job: Path
    scratch: Path

    def decrypt(self, *options: object) -> tuple[object, ...]:
        return ("decrypt", self.maildir, *self.sample.history, "--workers=0", *options)

    def encrypt(self, *options: object) -> tuple[object, ...]:
        to = ("--job", self.job, "--to", self.sample.new)
        return ("encrypt", self.maildir, *to, "--workers=0", *options)

    def rewrap(self, *options: object) -> tuple[object, ...]:
        opening = (*self.sample.history, "--to", self.sample.new)
        return ("rewrap", self.maildir, *opening, "--workers=0", *options)


@pytest.fixture
def place(sample: Fixture, move: Fixture, tmp_path: Path) -> Place:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Place(sample, move.maildir, move.job, scratch)


Arguments = tuple[object, ...]


def _message_of_outlook(place: Place) -> Arguments:
    (place.scratch / "mail.msg").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1"))
    return ("scan", place.scratch / "mail.msg")


def _empty_directory(place: Place) -> Arguments:
    return ("scan", place.scratch)


def _empty_file(place: Place) -> Arguments:
    (place.scratch / "file").touch()
    return ("scan", place.scratch / "file")


def _wrong_passphrase(place: Place) -> Arguments:
    (place.scratch / "pass").write_text("hunter2\n")
    key = place.sample.keys / "old" / "owner-2005-2008.p12"
    return ("scan", place.maildir, "--keys", key, "--passphrase-file", place.scratch / "pass")


def _no_passphrase(place: Place) -> Arguments:
    return ("keys", place.sample.keys / "old" / "owner-2005-2008.p12")


def _damaged_job_log(place: Place) -> Arguments:
    (place.job / "job.db").write_bytes(b"this is no database at all" * 400)
    return ("status", place.job)


def _damaged_job_log_in_a_run(place: Place) -> Arguments:
    _damaged_job_log(place)
    return place.encrypt()


def _truncated_job_log(place: Place) -> Arguments:
    log = place.job / "job.db"
    log.write_bytes(log.read_bytes()[:5000])
    return ("status", place.job)


def _job_of_another_mailbox(place: Place) -> Arguments:
    # The job was begun on the original, this is a copy of it.
    return place.decrypt("--job", place.job)


def _emptied_mailbox(place: Place) -> Arguments:
    for path in place.maildir.rglob("*.M*"):
        path.unlink()
    return place.encrypt()


def _certificate_authority(place: Place) -> Arguments:
    authority = place.sample.keys / "ca" / "example-mail-ca-2025.pem"
    return ("encrypt", place.maildir, "--job", place.job, "--to", authority)


def _no_certificate_file(place: Place) -> Arguments:
    return ("encrypt", place.maildir, "--job", place.job, "--to", place.scratch / "new.pem")


def _missing_checkpoint(place: Place) -> Arguments:
    next(path for path in (place.job / "checkpoints").rglob("*") if path.is_file()).unlink()
    return place.encrypt()


def _newer_job_log(place: Place) -> Arguments:
    with sqlite3.connect(place.job / "job.db") as log:
        log.execute("PRAGMA user_version = 999")
    log.close()
    return ("status", place.job)


def _newer_job_log_in_a_run(place: Place) -> Arguments:
    _newer_job_log(place)
    return place.encrypt()


def _job_log_of_a_development_version(place: Place) -> Arguments:
    with sqlite3.connect(place.job / "job.db") as log:
        log.execute("PRAGMA user_version = 3")
    log.close()
    return ("status", place.job)


def _job_directory_that_is_none(place: Place) -> Arguments:
    return ("status", place.scratch)


def _certificate_in_the_place_of_the_mailbox(place: Place) -> Arguments:
    return ("encrypt", place.sample.new, "--job", place.job, "--to", place.sample.new)


def _not_decrypted(place: Place) -> Arguments:
    shutil.rmtree(place.job)
    return place.encrypt()


def _passphrase_file_missing(place: Place) -> Arguments:
    return ("keys", place.sample.keys / "old", "--passphrase-file", place.scratch / "none")


def _passphrase_table_is_a_directory(place: Place) -> Arguments:
    return ("keys", place.sample.keys / "old", "--passphrases", place.scratch)


SITUATIONS: dict[str, tuple[int, Callable[[Place], Arguments]]] = {
    "unknown option": (2, lambda place: ("scan", place.maildir, "--nope")),
    "unknown option of the whole": (2, lambda _: ("--nope",)),
    "unknown command": (2, lambda _: ("shred",)),
    "no mailbox": (2, lambda _: ("scan",)),
    "no keys": (2, lambda place: ("decrypt", place.maildir, "--job", place.job)),
    "no job": (2, lambda place: place.decrypt()),
    "no certificate": (2, lambda place: ("encrypt", place.maildir, "--job", place.job)),
    "limit of none": (2, lambda place: ("scan", place.maildir, "--limit=0")),
    "less than no worker": (2, lambda place: ("scan", place.maildir, "--workers=-1")),
    "too many workers": (2, lambda place: ("scan", place.maildir, "--workers=100000")),
    "no number": (2, lambda place: ("scan", place.maildir, "--workers=two")),
    "no date": (2, lambda place: ("scan", place.maildir, "--since=yesterday")),
    "no such day": (2, lambda place: ("scan", place.maildir, "--since=2023-02-29")),
    "a day before all time zones": (2, lambda p: ("scan", p.maildir, "--before=0001-01-01")),
    "no fingerprint": (2, lambda place: place.encrypt("--accept-certificate=ab:cd")),
    "no such profile": (2, lambda place: place.encrypt("--profile=strong")),
    "one argument too many": (2, lambda place: place.encrypt("another.pem")),
    "passphrase as an argument": (2, lambda place: place.decrypt("--passphrase=hunter2")),
    "key files that are not there": (2, lambda p: ("scan", p.maildir, "--keys", p.scratch / "k")),
    "key directory without a key": (2, lambda p: ("scan", p.maildir, "--keys", p.scratch)),
    "passphrase file that is not there": (2, _passphrase_file_missing),
    "table of passphrases that is a directory": (2, _passphrase_table_is_a_directory),
    "status of no job": (2, _job_directory_that_is_none),
    "encrypt without decrypt": (2, _not_decrypted),
    "rewrap of a decrypted job": (2, lambda place: place.rewrap("--job", place.job)),
    "rewrap for a compromised key": (2, lambda place: place.rewrap("--reason=key-compromise")),
    "rewrap for no known reason": (2, lambda place: place.rewrap("--reason=boredom")),
    "rewrap without a job": (2, lambda place: place.rewrap()),
    "certificate for a mailbox": (2, _certificate_in_the_place_of_the_mailbox),
    "job inside the mailbox": (2, lambda place: place.decrypt("--job", place.maildir / "job")),
    "job in a directory of other things": (2, lambda p: p.decrypt("--job", p.maildir.parent)),
    "nothing there": (10, lambda place: ("scan", place.scratch / "none")),
    "empty directory": (10, _empty_directory),
    "file": (10, _empty_file),
    "message of Outlook": (10, _message_of_outlook),
    "no password": (19, lambda _: ("scan", "imaps://user@mail.example.org/")),
    "mailbox without a name": (10, lambda _: ("scan", "")),
    "wrong passphrase": (12, _wrong_passphrase),
    "no passphrase": (12, _no_passphrase),
    "damaged job log": (13, _damaged_job_log),
    "damaged job log in a run": (13, _damaged_job_log_in_a_run),
    "truncated job log": (13, _truncated_job_log),
    "job of another mailbox": (14, _job_of_another_mailbox),
    "less than half of the job found": (14, _emptied_mailbox),
    "certificate of an authority": (15, _certificate_authority),
    "no certificate file": (15, _no_certificate_file),
    "newer job log": (21, _newer_job_log),
    "newer job log in a run": (21, _newer_job_log_in_a_run),
    "job log of a development version": (21, _job_log_of_a_development_version),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_failure_is_one_error_one_hint_and_its_code(
    name: str, run: Fixture, place: Place
) -> None:
    code, situation = SITUATIONS[name]
    words = situation(place)
    answer = run(*words)
    assert answer.code == code, answer
    assert answer.is_one_error(), answer
    assert answer.out == ""
    assert code in EXIT_CODES.get(str(words[0]), {2}), "the help of the command does not tell it"
    assert "hunter2" not in answer.err


@pytest.mark.parametrize("name", SITUATIONS)
def test_a_failure_with_json_is_one_document(name: str, run: Fixture, place: Place) -> None:
    code, situation = SITUATIONS[name]
    answer = run(*situation(place), "--json")
    assert answer.code == code, answer
    assert answer.document.keys() == {"format", "exit_code", "warnings", "error"}
    assert answer.document["format"] == 2
    assert answer.document["error"].keys() == {"code", "message", "hint"}
    assert answer.document["error"]["code"] == code
    assert all(answer.document["error"].values())
    assert "hunter2" not in answer.out


def test_a_damaged_checkpoint_costs_its_message_and_ends_with_16(
    run: Fixture, place: Place
) -> None:
    answer = run(*_missing_checkpoint(place), "--json")
    assert answer.code == 16
    assert answer.document["counts"]["failed"] == 1
    assert answer.document["counts"]["reencrypted"] == 5


def test_a_run_that_did_everything_ends_with_0(run: Fixture, place: Place) -> None:
    listed = run("scan", place.maildir, *place.sample.history, "--workers=0", "--json").document
    for entry in listed["not_done"]:
        next(place.maildir.rglob(f"{entry['ref']}*")).unlink()
    assert run(*place.decrypt("--job", place.scratch / "job")).code == 0


def test_a_locked_job_ends_with_11_and_says_who_holds_it(run: Fixture, place: Place) -> None:
    with Lock(place.job / "lock", what="job", holder="sectool, process 1 on elsewhere"):
        answer = run(*place.encrypt())
    assert answer.code == 11
    assert answer.is_one_error()
    assert "process 1 on elsewhere" in answer.err


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_space_ends_with_17_and_the_same_command_resumes(run: Fixture, place: Place) -> None:
    # F18: enough for the job log, and too small for the largest message of the sample.
    command = (
        *("decrypt", place.sample.maildir, *place.sample.history, "--workers=0"),
        *("--job", place.scratch / "job"),
    )
    with _largest_file(500_000):
        answer = run(*command)
    assert answer.code == 17, answer
    assert answer.is_one_error()
    assert run(*command, "--json").document["counts"]["checkpointed"] == 86


@pytest.fixture
def read_only_run(place: Place, run_in_fork: Fixture) -> Callable[..., Any]:
    """Runs a command in a mount namespace where the mailbox is read-only."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a mount namespace")

    def prepare() -> None:
        new_mount_namespace = 0x20000
        assert ctypes.CDLL(None).unshare(new_mount_namespace) == 0
        script = 'mount --make-rprivate / && mount --bind -o ro "$0" "$0"'
        subprocess.run(["sh", "-c", script, place.maildir], check=True)

    return partial(run_in_fork, prepare=prepare)


@pytest.mark.parametrize("command", ["encrypt", "rewrap"])
def test_a_mailbox_that_cannot_be_written_ends_with_20(
    command: str, read_only_run: Callable[..., Any], place: Place
) -> None:
    arguments = place.encrypt()
    if command == "rewrap":
        arguments = place.rewrap("--job", place.scratch / "job")
    done = read_only_run(*arguments, "--json")
    assert done.code == 20, done.err
    assert done.document["error"]["code"] == 20


def test_a_mailbox_that_cannot_be_written_can_be_scanned(
    read_only_run: Callable[..., Any], place: Place
) -> None:
    assert read_only_run("scan", place.maildir, "--workers=0", "-q").code == 0


def test_decrypting_in_place_what_cannot_be_written_ends_before_the_work(
    read_only_run: Callable[..., Any], place: Place
) -> None:
    job = place.scratch / "job"
    done = read_only_run(*place.decrypt("--job", job, "--in-place"))
    assert done.code == 20, done.err
    assert not list((job / "checkpoints").glob("*.eml"))
    assert read_only_run(*place.decrypt("--job", job, "-q")).code == 3


def test_an_empty_mailbox_is_told(run: Fixture, place: Place) -> None:
    for part in ("cur", "new", "tmp"):
        (place.scratch / "Maildir" / part).mkdir(parents=True)
    answer = run("scan", place.scratch / "Maildir", "--workers=0")
    assert (answer.code, "is it the right one?" in answer.err) == (0, True)


@pytest.mark.parametrize("source", ["file", "table", "environment"])
def test_a_passphrase_comes_from(
    source: str, run: Fixture, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = place.sample.keys
    options: dict[str, tuple[object, ...]] = {
        "file": ("--passphrase-file", keys / "passphrase.txt"),
        "table": ("--passphrases", keys / "passphrases.csv"),
        "environment": (),
    }
    if source == "environment":
        monkeypatch.setenv("SECTOOL_PASSPHRASE", "sample")
    answer = run("keys", keys / "old", *options[source], "--json")
    assert answer.code == 0
    assert len(answer.document["keys"]) == 3


def test_one_key_file_that_does_not_open_is_a_warning_and_costs_no_other(
    run: Fixture, place: Place
) -> None:
    keys = place.sample.keys
    answer = run(
        *("scan", place.maildir, "--keys", keys / "new" / "owner-new.key", "--workers=0"),
        *("--keys", keys / "old" / "owner-2005-2008.p12"),
    )
    assert answer.code == 0
    assert "sectool: warning: " in answer.err
    assert "needs a passphrase" in answer.err


def test_very_verbose_says_where_an_error_arose(run: Fixture, place: Place) -> None:
    answer = run("scan", place.scratch, "-vv")
    assert answer.code == 10
    assert "recognise.py" in answer.err


def test_verbose_says_nothing_of_where_an_error_arose(run: Fixture, place: Place) -> None:
    assert run("scan", place.scratch, "-v").is_one_error()
