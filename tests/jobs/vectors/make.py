"""Makes the jobs of an older schema version; run with the code of its commit (see README.md)."""

from __future__ import annotations

import io
import shutil
import signal
import socket
import sys
import tarfile
from pathlib import Path

from sectool import jobs
from sectool.keys import KeySpecification
from tests.support import crash
from tests.support.checker import Key
from tests.support.mailboxes import CLEAR, Mail, encrypted, fill, openssl

HERE = Path(__file__).parent
VERSION = sys.argv[1]
GROUPS = {
    "v1": {"sectool.jobs.intake": 3, "sectool.jobs.resealing": 2},
    "v2": {"sectool.jobs.passes.take_in": 3, "sectool.jobs.replacing.grouping": 2},
}
TRIAL = Path(f"/tmp/sectool-{VERSION}")
MAILDIR = TRIAL / "Maildir"
JOB = TRIAL / "job"
NAMES = ("old", "new", "stranger")


def make_keys() -> dict[str, Key]:
    directory = HERE / "keys"
    keys = {name: Key(directory / f"{name}.crt", directory / f"{name}.key") for name in NAMES}
    if directory.is_dir():
        return keys
    directory.mkdir()
    for key in keys.values():
        name = key.certificate.stem
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "365000"),
            *("-subj", f"/O=Example/CN={name}", "-addext", "keyUsage=keyEncipherment"),
            *("-addext", "basicConstraints=critical,CA:FALSE"),
            *("-keyout", key.private_key, "-out", key.certificate),
        )
    return keys


def sample(keys: dict[str, Key]) -> list[Mail]:
    old = keys["old"]
    to_oneself = encrypted(4, old)
    return [
        Mail("", "cur/1300000001.M1P1.host,S=900:2,S", encrypted(1, old)),
        Mail("", "cur/1300000002.M2P1.host:2,", encrypted(2, old, options=("-des3",))),
        Mail("", "new/1300000003.M3P1.host", encrypted(3, old, options=("-aes-128-gcm",))),
        Mail("", "cur/1300000004.M4P1.host:2,FS", to_oneself),
        Mail(".Sent", "cur/1300000005.M5P1.host:2,S", b"X-Copy: mine\n" + to_oneself),
        Mail("", "cur/1300000006.M6P1.host:2,RS", CLEAR),
        Mail(".Sent", "cur/1300000007.M7P1.host:2,", encrypted(7, keys["stranger"])),
        Mail("", "cur/1300000008.M8P1.host:2,", encrypted(8, old)[:700]),
    ]


def specification(operation: str, keys: dict[str, Key]) -> jobs.Specification:
    old, new = keys["old"], keys["new"]
    history = KeySpecification((old.certificate, old.private_key))
    opening = KeySpecification((new.certificate, new.private_key))
    mailbox = str(MAILDIR)
    runs: dict[str, jobs.Specification] = {
        "decrypt": jobs.Decrypt(mailbox=mailbox, job=JOB, keys=history, workers=0),
        "encrypt": jobs.Encrypt(job=JOB, new_certificates=(new.certificate,), workers=0),
        "verify": jobs.Verify(job=JOB, verify_keys=opening, workers=0),
        "rollback": jobs.Rollback(job=JOB, workers=0),
        "purge": jobs.Purge(job=JOB, verify_keys=opening, workers=0),
    }
    return runs[operation]


def killed_at(spec: jobs.Specification, name: str, passing: int) -> None:
    """Runs until the ``passing``-th passing of the crash point ``name``."""
    code = crash.in_child(lambda: jobs.run(spec), f"crash@{name}:{passing}")
    assert code == -signal.SIGKILL, name


def in_small_groups() -> None:
    for module, size in GROUPS[VERSION].items():
        sys.modules[module].GROUP_MESSAGES = size  # type: ignore[attr-defined]


def pack(state: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", format=tarfile.PAX_FORMAT) as archive:

        def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            return None if entry.name == "job/lock" else entry

        for name in ("Maildir", "job"):
            archive.add(TRIAL / name, name, filter=anonymous)
    (HERE / VERSION / f"{state}.tar.xz").write_bytes(buffer.getvalue())


def main() -> None:
    socket.gethostname = lambda: "mail.example.org"
    in_small_groups()
    keys = make_keys()
    mail = sample(keys)

    def run(*operations: str) -> None:
        for operation in operations:
            jobs.run(specification(operation, keys))

    def begin() -> None:
        shutil.rmtree(TRIAL, ignore_errors=True)
        fill(MAILDIR, mail)

    begin()
    # The job itself and its mailbox are noted first, then the groups.
    killed_at(specification("decrypt", keys), "joblog.commit.after", 5)
    pack("mid-decrypt")

    begin()
    run("decrypt")
    pack("decrypted")
    # A group is announced, placed and finished, each with a commit; of the second
    # group the new copies lie in the mailbox, and the log does not know.
    killed_at(specification("encrypt", keys), "maildir.directory.after", 3)
    pack("announced")

    begin()
    run("decrypt")
    killed_at(specification("encrypt", keys), "maildir.retire.before", 3)
    pack("placed")

    begin()
    run("decrypt", "encrypt", "verify", "purge")
    pack("purged")
    shutil.rmtree(TRIAL)


if __name__ == "__main__":
    main()
