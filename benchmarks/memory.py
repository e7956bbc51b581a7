"""Measures time and memory of a whole move: many small messages, or one very large one."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.mail import make_key, make_large, make_mail
from benchmarks.measure import measured


def report(what: str, arguments: tuple[object, ...]) -> None:
    """Runs and prints one line."""
    command = (sys.executable, "-m", "sectool", *arguments, "--workers", "2", "--quiet")
    done = measured(command, watch=True)
    print(
        f"  {what:16} {done.seconds:8.2f} s   processor {done.cpu:7.2f} s"
        f"   tree RSS {done.peak.rss / 1e6:6.0f} MB"
        f"   PSS {done.peak.pss / 1e6:6.0f} MB   exit {done.code}",
        flush=True,
    )


def as_mbox(maildir: Path) -> str:
    """Makes one mbox file of the mail of a Maildir; what takes the place of its path."""
    target = maildir.with_name("mbox")
    line = b"From alice@example.org Fri Mar  4 05:06:07 2011\n"
    with target.open("wb") as file:
        for number, path in enumerate(sorted(maildir.glob("cur/*"))):
            file.write(line.replace(b"alice", b"alice-%d" % number) + path.read_bytes() + b"\n")
            path.unlink()
    return f"mbox:{target}"


def move(directory: Path, maildir: Path | str, old: Path, new: Path) -> None:
    """Measures each command of a move."""
    job = directory / "job"
    decrypt = ("decrypt", maildir, "--keys", old, "--job", job)
    encrypt = ("encrypt", maildir, "--to", new, "--job", job)
    report("scan", ("scan", maildir, "--keys", old))
    report("decrypt", decrypt)
    report("decrypt again", decrypt)
    report("encrypt", encrypt)
    report("encrypt again", encrypt)
    report("rollback", ("rollback", job))


def move_in_place(directory: Path, maildir: Path | str, old: Path, new: Path) -> None:
    """Measures the move of a mailbox that lies in clear meanwhile, and its undoing."""
    job = directory / "job"
    decrypt = ("decrypt", maildir, "--keys", old, "--job", job, "--in-place")
    report("in place", decrypt)
    report("in place again", decrypt)
    report("encrypt", ("encrypt", maildir, "--to", new, "--job", job))
    report("back to clear", ("rollback", job, "--to-stage", "decrypted"))
    report("rollback", ("rollback", job))


def move_sealed(directory: Path, maildir: Path | str, old: Path, new: Path) -> None:
    """Measures a move whose checkpoints are sealed to a transport certificate."""
    job = directory / "job"
    transport = make_key(directory, "transport")
    decrypt = ("decrypt", maildir, "--keys", old, "--job", job, "--seal-to")
    encrypt = ("encrypt", maildir, "--to", new, "--job", job, "--seal-keys", transport)
    report("decrypt, sealed", (*decrypt, transport.with_suffix(".crt")))
    report("encrypt", encrypt)
    report("encrypt again", encrypt)


def exchange(directory: Path, maildir: Path | str, old: Path, new: Path) -> None:
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
    parser.add_argument("--mbox", action="store_true", help="as one mbox file")
    parser.add_argument("--directory", type=Path, help="where to work; default: temporary")
    options = parser.parse_args()
    act = move_in_place if options.in_place else move_sealed if options.sealed else move
    act = exchange if options.rewrap else act
    for count in options.messages:
        with tempfile.TemporaryDirectory(dir=options.directory) as name:
            mail = make_mail(Path(name, "mail"), "ordinary", count)
            print(f"{count} messages", flush=True)
            where = as_mbox(mail.maildir) if options.mbox else mail.maildir
            act(mail.directory, where, mail.old, mail.new.with_suffix(".crt"))
    if options.gigabytes:
        with tempfile.TemporaryDirectory(dir=options.directory) as name:
            mail = make_large(Path(name, "mail"), int(options.gigabytes * 1e9))
            print(f"one message of {options.gigabytes} GB", flush=True)
            where = as_mbox(mail.maildir) if options.mbox else mail.maildir
            act(mail.directory, where, mail.old, mail.new.with_suffix(".crt"))


if __name__ == "__main__":
    main()
