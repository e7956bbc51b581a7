"""What a command tells of a key file that root does not use, and of secrets others can read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.rights

Fixture = Any

USER = 65534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture
def home(sample: Fixture, tmp_path: Path) -> Path:
    """Keys of a user, among them a second name of a file that is root's."""
    home = tmp_path / "home"
    shutil.copytree(sample.keys / "old", home)
    for path in (home, *home.iterdir()):
        os.chown(path, USER, USER)
    return home


@pytest.fixture
def planted(home: Path, sample: Fixture, tmp_path: Path) -> Path:
    shutil.copy(sample.keys / "new" / "owner-new.key", tmp_path / "root.key")
    (home / "planted.key").hardlink_to(tmp_path / "root.key")
    return home / "planted.key"


def commands(sample: Fixture, home: Path, tmp_path: Path) -> dict[str, tuple[object, ...]]:
    keys = ("--keys", home, "--passphrase-file", sample.keys / "passphrase.txt", "--workers=0")
    return {
        "scan": ("scan", sample.small, *keys),
        "decrypt": ("decrypt", sample.small, *keys, "--job", tmp_path / "job"),
        "dry run": ("decrypt", sample.small, *keys, "--dry-run"),
        "rewrap": ("rewrap", sample.small, *keys, "--to", sample.new, "--dry-run"),
    }


@as_root
@pytest.mark.parametrize("name", ["scan", "decrypt", "dry run", "rewrap"])
def test_a_file_that_root_does_not_use_is_told_and_counts_as_one_that_stays_shut(
    name: str, run: Fixture, sample: Fixture, home: Path, planted: Path, tmp_path: Path
) -> None:
    words = commands(sample, home, tmp_path)[name]
    answer = run(*words, "--json")
    assert answer.code == (0 if name == "scan" else 12)
    assert f"sectool: warning: {planted}: root does not use it: it belongs to root" in answer.err
    for listed in ("unused_key_files", "shut_key_files"):
        (entry,) = answer.document[listed]
        assert entry["file"] == str(planted)
        assert entry["reason"].startswith("root does not use it")
    planted.unlink()
    again = run(*words, "--json")
    assert again.code == (0 if name == "scan" else 3)
    assert "unused_key_files" not in again.document


@as_root
def test_keys_tells_it(run: Fixture, sample: Fixture, home: Path, planted: Path) -> None:
    words = ("keys", home, "--passphrase-file", sample.keys / "passphrase.txt")
    (problem,) = run(*words, "--json").document["problems"]
    assert (problem["file"], problem["kind"]) == (str(planted), "misleading")
    assert "not read:" in run(*words).out


@as_root
def test_nothing_is_said_of_an_old_key_that_root_does_not_use(
    run: Fixture, sample: Fixture, move: Fixture, home: Path, planted: Path
) -> None:
    words = ("verify", move.job, move.maildir, "--workers=0", "--retire", home)
    answer = run(*words, "--passphrase-file", sample.keys / "passphrase.txt", "--json")
    assert answer.code == 12
    assert [entry["file"] for entry in answer.document["shut_key_files"]] == [str(planted)]


def test_a_secret_that_others_can_read_is_told_once(
    run: Fixture, sample: Fixture, tmp_path: Path
) -> None:
    secret = tmp_path / "pass.txt"
    shutil.copy(sample.keys / "passphrase.txt", secret)
    secret.chmod(0o644)
    keys = ("--keys", sample.keys / "old", "--passphrase-file", secret)
    answer = run("scan", sample.small, *keys, "--new-keys", sample.keys / "new", "--workers=0")
    told = [line for line in answer.err.splitlines() if str(secret) in line]
    assert told == [
        f"sectool: warning: {secret}: everybody may read or change it (mode 0644)",
        f"sectool: hint: keep it to yourself: chmod 600 {secret}",
    ]
    secret.chmod(0o600)
    answer = run("scan", sample.small, *keys, "--workers=0")
    assert str(secret) not in answer.err


def test_a_seal_key_that_others_can_read_is_told(
    run: Fixture, sample: Fixture, tmp_path: Path
) -> None:
    key = tmp_path / "seal.key"
    shutil.copy(sample.keys / "new" / "owner-new.key", key)
    words = (
        *("decrypt", sample.small, *sample.history, "--job", tmp_path / "job", "--workers=0"),
        *("--seal-to", sample.new, "--seal-keys", key, "--limit=1"),
    )
    for mode, is_told in ((0o644, True), (0o600, False)):
        key.chmod(mode)
        assert (f"{key}: everybody may read" in run(*words).err) is is_told


def test_a_pipe_in_the_place_of_a_certificate_does_not_hang(
    run: Fixture, sample: Fixture, move: Fixture, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "new.pem")
    for certificate in (tmp_path / "new.pem", "/dev/zero"):
        answer = run("encrypt", move.maildir, "--job", move.job, "--to", certificate, "--workers=0")
        assert (answer.code, answer.is_one_error()) == (15, True)
        assert "not a regular file" in answer.err
