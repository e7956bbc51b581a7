"""Measures time and memory of a whole move: many small messages, or one very large one."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

INTERVAL = 0.05
BASE_TIME = 1_300_000_000


@dataclass
class Peak:
    """Peaks of a process tree, in bytes."""

    rss: int = 0
    pss: int = 0


def make_key(directory: Path, name: str) -> Path:
    """Writes a key and a certificate into one PEM file."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.pem"
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


def make_message(source: Path, certificate: Path, target: Path) -> None:
    """Encrypts a file with openssl as a mail program would."""
    with target.open("wb") as stream:
        stream.write(b"From: a@example.org\nSubject: benchmark\nMIME-Version: 1.0\n")
        stream.write(b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\n")
        stream.write(b"Content-Transfer-Encoding: base64\n\n")
        stream.flush()
        encrypt = subprocess.Popen(
            [
                *("openssl", "cms", "-encrypt", "-binary", "-stream", "-outform", "DER"),
                *("-aes256", "-in", str(source), str(certificate)),
            ],
            stdout=subprocess.PIPE,
        )
        subprocess.run(["base64", "-w", "76"], stdin=encrypt.stdout, stdout=stream, check=True)
        assert encrypt.wait() == 0


def make_maildir(directory: Path, certificate: Path, messages: int) -> Path:
    """Many messages of about 20 kB; 64 different ciphertexts under different outer headers."""
    maildir = directory / "Maildir"
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    inner, stored = directory / "inner", directory / "stored"
    kinds = []
    for number in range(64):
        text = b"%d " % number * 6000
        inner.write_bytes(b"Content-Type: text/plain\r\n\r\n" + text[: 9000 + 100 * number])
        make_message(inner, certificate, stored)
        kinds.append(stored.read_bytes())
    for number in range(messages):
        path = maildir / "cur" / f"{BASE_TIME + number}.M{number}P1.host:2,S"
        path.write_bytes(b"X-Number: %d\n" % number + kinds[number % len(kinds)])
        os.utime(path, (BASE_TIME + number, BASE_TIME + number))
    return maildir


def make_large(directory: Path, certificate: Path, size: int) -> Path:
    """One message whose content is ``size`` bytes."""
    maildir = directory / "Maildir"
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    inner = directory / "inner"
    with inner.open("wb") as stream:
        stream.write(b"Content-Type: text/plain\r\n\r\n")
        line = b"0123456789abcdef" * 4 + b"\r\n"
        for _ in range(size // (len(line) * 1000)):
            stream.write(line * 1000)
    make_message(inner, certificate, maildir / "cur" / f"{BASE_TIME}.M1P1.host:2,S")
    inner.unlink()
    return maildir


def tree(root: int) -> Iterator[int]:
    """Process ids of a process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    waiting = [root]
    while waiting:
        process = waiting.pop()
        yield process
        waiting.extend(children.get(process, ()))


def memory(process: int) -> tuple[int, int]:
    """RSS and PSS in bytes."""
    rss = pss = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "Rss":
                rss = int(value.split()[0]) * 1024
            elif name == "Pss":
                pss = int(value.split()[0]) * 1024
    return rss, pss


def measured(*arguments: object) -> tuple[float, Peak, int]:
    """Runs sectool; answers seconds, peaks and exit code."""
    peak = Peak()
    start = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "sectool", *map(str, arguments), "--quiet"],
        stderr=subprocess.DEVNULL,
    )
    done = threading.Event()

    def watch() -> None:
        while not done.wait(INTERVAL):
            figures = [memory(number) for number in tree(process.pid)]
            peak.rss = max(peak.rss, sum(rss for rss, _ in figures))
            peak.pss = max(peak.pss, sum(pss for _, pss in figures))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    return time.monotonic() - start, peak, code


def report(what: str, arguments: tuple[object, ...]) -> None:
    """Runs and prints one line."""
    seconds, peak, code = measured(*arguments)
    print(
        f"  {what:16} {seconds:8.2f} s   tree RSS {peak.rss / 1e6:6.0f} MB"
        f"   PSS {peak.pss / 1e6:6.0f} MB   exit {code}",
        flush=True,
    )


def move(directory: Path, maildir: Path, old: Path, new: Path) -> None:
    """Measures each command of a move."""
    job = directory / "job"
    decrypt = ("decrypt", maildir, "--keys", old, "--job", job)
    encrypt = ("encrypt", maildir, "--to", new, "--job", job)
    report("scan", ("scan", maildir, "--keys", old))
    report("decrypt", decrypt)
    report("decrypt again", decrypt)
    report("encrypt", encrypt)
    report("encrypt again", encrypt)


def move_in_place(directory: Path, maildir: Path, old: Path, new: Path) -> None:
    """Measures the move of a mailbox that lies in clear meanwhile, and its undoing."""
    job = directory / "job"
    decrypt = ("decrypt", maildir, "--keys", old, "--job", job, "--in-place")
    report("in place", decrypt)
    report("in place again", decrypt)
    report("encrypt", ("encrypt", maildir, "--to", new, "--job", job))
    report("back to clear", ("rollback", job, "--to-stage", "decrypted"))
    report("rollback", ("rollback", job))


def move_sealed(directory: Path, maildir: Path, old: Path, new: Path) -> None:
    """Measures a move whose checkpoints are sealed to a transport certificate."""
    job = directory / "job"
    transport = make_key(directory, "transport")
    decrypt = ("decrypt", maildir, "--keys", old, "--job", job, "--seal-to")
    encrypt = ("encrypt", maildir, "--to", new, "--job", job, "--seal-keys", transport)
    report("decrypt, sealed", (*decrypt, transport.with_suffix(".crt")))
    report("encrypt", encrypt)
    report("encrypt again", encrypt)


def exchange(directory: Path, maildir: Path, old: Path, new: Path) -> None:
    """Measures the exchange of recipients, where no plaintext is kept."""
    rewrap = ("rewrap", maildir, "--keys", old, "--to", new, "--job", directory / "job")
    report("rewrap", rewrap)
    report("rewrap again", rewrap)


def main() -> None:
    """Runs what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, nargs="*", default=[])
    parser.add_argument("--gigabytes", type=float, default=0)
    parser.add_argument("--in-place", action="store_true", help="decrypt in place")
    parser.add_argument("--sealed", action="store_true", help="seal the checkpoints")
    parser.add_argument("--rewrap", action="store_true", help="exchange the recipients")
    parser.add_argument("--directory", type=Path, help="where to work; default: temporary")
    options = parser.parse_args()
    act = move_in_place if options.in_place else move_sealed if options.sealed else move
    act = exchange if options.rewrap else act
    for count in options.messages:
        with tempfile.TemporaryDirectory(dir=options.directory) as name:
            directory = Path(name)
            old, new = make_key(directory, "old"), make_key(directory, "new")
            maildir = make_maildir(directory, directory / "old.crt", count)
            print(f"{count} messages", flush=True)
            act(directory, maildir, old, new.with_suffix(".crt"))
    if options.gigabytes:
        with tempfile.TemporaryDirectory(dir=options.directory) as name:
            directory = Path(name)
            old, new = make_key(directory, "old"), make_key(directory, "new")
            size = int(options.gigabytes * 1e9)
            maildir = make_large(directory, directory / "old.crt", size)
            print(f"one message of {options.gigabytes} GB", flush=True)
            act(directory, maildir, old, new.with_suffix(".crt"))


if __name__ == "__main__":
    main()
