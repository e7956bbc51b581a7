"""Holds commands on an account of a local Dovecot against fetching one by one, and counts cycles.

Far away: the server is 50 ms from here, there and back. `scan` and `decrypt` are held against
`imaplib`, which asks for one message after the other. Near: how many messages a second the store
replaces, with fsync as the server does it by default; a cycle is what the store does of
``encrypt``, for 64 messages at a time: intend, append, fetch again, mark, remove.
"""

from __future__ import annotations

import argparse
import imaplib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.mail import Mail, make_mail
from benchmarks.measure import Measured, measured
from sectool import jobs
from sectool.hardening import Secret
from sectool.keys import KeySpecification
from sectool.mailbox import (
    Account,
    Credentials,
    Mailbox,
    MailboxSpecification,
    Placed,
    Replace,
    Written,
    open_mailbox,
)
from sectool.mailbox.imap.connection import Connection
from sectool.message import BytesContent, MessageRef
from tests.support.dovecot import Dovecot, running_dovecot
from tests.support.imap_world import own
from tests.support.proxy import Proxy

THERE = 0.025
"""Seconds that each byte takes in one way."""
GOAL_FAR, GOAL_NEAR = 20, 400
ONE_BY_ONE = 60
"""Messages that are fetched so, since all would take minutes."""
TOGETHER = 64
"""Messages of a group of the engine."""


@contextmanager
def served(mail: Mail) -> Iterator[Dovecot]:
    """A server that has the mail in the account of one user."""
    with running_dovecot() as server:
        shutil.copytree(mail.maildir, server.maildir, dirs_exist_ok=True)
        own(server.maildir)
        client = server.connect()
        client.select("INBOX")  # makes its index
        client.logout()
        yield server


def one_by_one(port: int, messages: int) -> float:
    """Messages a second that the library's client fetches."""
    client = imaplib.IMAP4("127.0.0.1", port)
    client.login("alice", "secret")
    client.select("INBOX", readonly=True)
    uids = client.uid("SEARCH", "ALL")[1][0].split()[:messages]
    began = time.monotonic()
    for uid in uids:
        client.uid("FETCH", uid.decode(), "(FLAGS INTERNALDATE BODY.PEEK[])")
    seconds = time.monotonic() - began
    client.logout()
    return len(uids) / seconds


def command(port: int, words: tuple[object, ...]) -> Measured:
    url = f"imap://alice@127.0.0.1:{port}/"
    done = measured(
        (sys.executable, "-m", "sectool", words[0], url, "--insecure", *words[1:], "--quiet")
    )
    if done.code:
        raise SystemExit(f"{words[0]} ended with {done.code}: {done.errors.decode()}")
    return done


def far(mail: Mail, directory: Path, rounds: int) -> None:
    """Prints what commands do a second, their start and the first look at the account aside."""
    with served(mail) as server, Proxy(server.port, delay=THERE).running() as proxy:
        for number in range(rounds):
            least = one_by_one(proxy.port, ONE_BY_ONE)
            print(f"far: one by one {least:.1f} messages a second")
            job = ("--job", directory / f"job{number}")
            for words in (("scan", "--keys", mail.old), ("decrypt", "--keys", mail.old, *job)):
                done = command(proxy.port, words)
                rate = len(mail.names) / done.seconds
                print(
                    f"far: {words[0]} {done.seconds:.1f} s, of processors {done.cpu:.1f} s,"
                    f" {rate:.0f} messages a second,"
                    f" {rate / least:.0f} times (goal {GOAL_FAR})",
                    flush=True,
                )


def waits(mail: Mail, directory: Path) -> None:
    """Prints what does not depend on what else the machine does: processor time, and answers.

    One process over one connection waits for each answer, so that the sum is more than the
    command takes, which fetches while it works and has workers.
    """
    answers = 0
    send = Connection._send  # noqa: SLF001  # nothing else counts it

    def counted(self: Connection, piece: bytes) -> None:
        nonlocal answers
        answers += 1
        send(self, piece)

    Connection._send = counted  # type: ignore[method-assign]  # noqa: SLF001
    keys = KeySpecification((mail.old,))
    account = Account(insecure=True, connections=1)
    with served(mail) as server:
        url = f"imap://alice@127.0.0.1:{server.port}/"
        for spec in (
            jobs.Scan(mailbox=url, keys=keys, account=account, workers=0),
            jobs.Decrypt(mailbox=url, keys=keys, account=account, workers=0, job=directory / "job"),
        ):
            answers, used = 0, time.process_time()
            jobs.run(spec)
            used = time.process_time() - used
            total = used + answers * 2 * THERE
            print(
                f"far: {type(spec).__name__.lower()} of {len(mail.names)}: {used:.1f} s of the"
                f" processor, {answers} answers; together {total:.1f} s,"
                f" one by one {len(mail.names) * 2 * THERE:.0f} s for the answers alone",
                flush=True,
            )
    Connection._send = send  # type: ignore[method-assign]  # noqa: SLF001


def near(mail: Mail, rounds: int) -> None:
    """Prints cycles a second, by the clock and by this process's time."""
    os.environ["SECTOOL_IMAP_PASSWORD"] = "secret"
    for _ in range(rounds):
        with served(mail) as server:
            place = MailboxSpecification("imap", f"//alice@127.0.0.1:{server.port}/")
            account = Account(insecure=True)
            with closing(
                open_mailbox(place, Credentials("alice", Secret("secret")), account)
            ) as mailbox:
                refs = [listing.ref for listing in mailbox.walk("INBOX")]
                began, used = time.monotonic(), time.process_time()
                for first in range(0, len(refs), TOGETHER):
                    cycle(mailbox, refs[first : first + TOGETHER])
                seconds, used = time.monotonic() - began, time.process_time() - used
            print(
                f"near: {len(refs)} messages in {seconds:.2f} s,"
                f" {len(refs) / seconds:.0f} a second (goal {GOAL_NEAR});"
                f" {used / len(refs) * 1000:.2f} ms of processor time each in the store",
                flush=True,
            )


def cycle(mailbox: Mailbox, refs: list[MessageRef]) -> None:
    """Replaces messages by copies of themselves, as the engine asks for it."""
    ahead = mailbox.fetch_ahead(refs)
    found = [ahead.fetch(ref) for ref in refs]
    news = []
    for one in found:
        with one.content.open() as stream:
            news.append(BytesContent(b"X-New: 1\r\n" + stream.read()))
    ahead.close()
    intents = mailbox.intend(
        [Replace(one.ref, new, one.revision) for one, new in zip(found, news, strict=True)]
    )
    answers = mailbox.write(list(zip(intents, news, strict=True)))
    written = [one for one in answers if isinstance(one, Written)]
    placed = [one for one in mailbox.place(written) if isinstance(one, Placed)]
    again = mailbox.fetch_ahead([copy.ref for copy in placed])
    for copy, new in zip(placed, news, strict=True):
        if again.fetch(copy.ref).content.size != new.size:
            raise SystemExit("the server made something else of a copy")
    again.close()
    if not all(isinstance(one, Placed) for one in mailbox.retire(placed)):
        raise SystemExit("an old copy was not removed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--mix", default="small")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=("far", "near"), default="")
    options = parser.parse_args()
    os.environ["SECTOOL_IMAP_PASSWORD"] = "secret"
    with tempfile.TemporaryDirectory(prefix="imap-") as name:
        directory = Path(name)
        mail = make_mail(directory / "mail", options.mix, options.messages)
        if options.only != "near":
            waits(mail, directory)
            far(mail, directory, options.rounds)
        if options.only != "far":
            near(mail, options.rounds)


if __name__ == "__main__":
    main()
