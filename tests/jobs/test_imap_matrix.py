"""A job goes from a store of one kind into one of another, where one of the two is on a server."""

from __future__ import annotations

import itertools
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.outcome import State
from sectool.summary import VerifySummary
from tests.jobs.test_imap_replacing import SECOND
from tests.jobs.test_stores import MARK, Meanings
from tests.support import checker, kinds, peers
from tests.support.cyrus import running_cyrus
from tests.support.dovecot import running_dovecot
from tests.support.imap_world import ON_LOOPBACK, MailServer, as_told, filled, url_of
from tests.support.mailboxes import Keys, Mail, fill
from tests.support.specifications import Specify

SERVERS: dict[str, Callable[..., object]] = {"dovecot": running_dovecot, "cyrus": running_cyrus}
IN_SAMPLE = {("maildir", "dovecot"), ("dovecot", "cyrus"), ("dovecot", "mbox")}
CASES = [
    pytest.param(*case, marks=[] if case in IN_SAMPLE else pytest.mark.all_only)
    for case in itertools.product(
        ("maildir", "mbox", "eml", "dovecot"), ("maildir", "mbox", "dovecot", "cyrus")
    )
    if set(case) & set(SERVERS)
]


@dataclass
class Places:
    """Makes a mailbox of any kind of the mail of a Maildir, and looks at it."""

    directory: Path
    stack: ExitStack
    specify: Specify
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def made(self, kind: str, mail: Path) -> Place:
        there = self.directory / f"{kind}{next(self._numbers)}"
        if kind in SERVERS:
            server: MailServer = self.stack.enter_context(SERVERS[kind]())  # type: ignore[arg-type]
            filled(server, "alice", mail)
            return Place(self, kind, there, server)
        if kind == "maildir":
            shutil.copytree(mail, there)
        else:
            kinds.fill_kind(there, kind, mail)
        return Place(self, kind, there)


@dataclass
class Place:
    """A mailbox of one kind."""

    places: Places
    kind: str
    path: Path
    server: MailServer | None = None

    @property
    def url(self) -> str:
        return kinds.url_of(self.kind, self.path) if self.server is None else url_of(self.server)

    def run(self, operation: str, **changes: object) -> jobs.Specification:
        job = self.places.directory / "job"
        made: jobs.Specification = self.places.specify(operation, self.url, job=job, **changes)  # type: ignore[call-overload]
        return made if self.server is None else replace(made, account=ON_LOOPBACK)

    def as_maildir(self) -> Path:
        """Its mail, as another client or the checker sees it."""
        target = self.path.with_name(f"{self.path.name}-{next(self.places._numbers)}")
        if self.server is not None:
            return as_told(self.server, "alice", target)
        if self.kind == "maildir":
            shutil.copytree(self.path, target)
        else:
            kinds.fill_kind(target, "nested", self.path)
        return target

    def meanings(self, *keys: checker.Key) -> Meanings:
        """What the checker finds: folder, flags, content, whatever the store makes of the rest."""
        return Counter(
            checker.meaning(
                replace(
                    mail,
                    raw=MARK.sub(b"", mail.raw.replace(b"\r\n", b"\n")),
                    flags="" if "eml" in self.kind else mail.flags,
                    mtime_ns=mail.mtime_ns // SECOND * SECOND,
                    mode=0,
                ),
                keys,
            )
            for mail in checker.stored_mail(self.as_maildir())
        )


@pytest.fixture
def places(
    tmp_path: Path, sample: list[Mail], specify: Specify, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Places]:
    monkeypatch.setenv("SECTOOL_IMAP_PASSWORD", "secret")
    # Dovecot takes a size in a name for true.
    fill(tmp_path / "mail", [replace(one, name=one.name.replace(",S=900", "")) for one in sample])
    with ExitStack() as stack:
        yield Places(tmp_path, stack, specify)


@pytest.mark.parametrize(("source", "target"), CASES)
def test_a_job_that_goes_into_another_store_ends_there_and_comes_back(
    source: str, target: str, places: Places, keys: Keys
) -> None:
    begun = places.made(source, places.directory / "mail")
    assert jobs.run(begun.run("decrypt")).counts[State.CHECKPOINTED] == 5
    mail = places.directory / "mail" if begun.server is None else begun.as_maildir()
    there = places.made(target, mail)
    before = there.meanings(keys.old)
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    assert jobs.run(there.run("encrypt")).counts[State.REENCRYPTED] == 5
    assert there.meanings(keys.new) == before
    assert jobs.run(there.run("verify", verify_keys=new)).counts[State.VERIFIED] == 5
    assert jobs.run(there.run("rollback")).counts[State.ROLLED_BACK] == 5
    assert there.meanings(keys.old) == before


def test_old_keys_are_judged_and_originals_are_purged_as_with_a_maildir(
    places: Places, keys: Keys
) -> None:
    new = KeySpecification((keys.new.certificate, keys.new.private_key))
    old = KeySpecification((keys.history,))
    told: list[object] = []
    for kind in ("maildir", "dovecot"):
        place = places.made(kind, places.directory / "mail")
        for operation in ("decrypt", "encrypt"):
            jobs.run(place.run(operation))
        verified = jobs.run(place.run("verify", verify_keys=new, retire=old))
        assert isinstance(verified, VerifySummary)
        mail = place.meanings(keys.new)
        purged = jobs.run(place.run("purge", verify_keys=new))
        assert place.meanings(keys.new) == mail
        assert jobs.run(place.run("rollback")).counts[State.ROLLED_BACK] == 0
        assert place.meanings(keys.new) == mail
        answers = [(key.file, key.answer, key.needed, key.unclear) for key in verified.retire or ()]
        told.append((answers, dict(purged.counts)))
        shutil.rmtree(places.directory / "job")
    assert told[0] == told[1]


# --- read by others -----------------------------------------------------------------------------

MBSYNC = """
IMAPAccount far
Host 127.0.0.1
Port {port}
User alice
Pass secret
SSLType None
AuthMechs LOGIN

IMAPStore far
Account far

MaildirStore near
Path {near}/
Inbox {near}/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Near
CopyArrivalDate yes
SyncState *
"""


def carried(place: Place, *keys: checker.Key) -> Meanings:
    """What mbsync brings into a new Maildir, with the dates that the server has."""
    assert place.server is not None
    near = place.path.with_name(f"near{next(place.places._numbers)}")
    near.mkdir(parents=True)
    settings = near.with_suffix(".conf")
    settings.write_text(MBSYNC.format(port=place.server.port, near=near))
    peers.run("mbsync", "--config", settings, "all", directory=near)
    unmarked = re.compile(rb"(?m)^X-TUID: .*\r?\n")
    return Counter(
        checker.meaning(
            replace(
                mail,
                raw=unmarked.sub(b"", mail.raw).replace(b"\r\n", b"\n"),
                mtime_ns=mail.mtime_ns // SECOND * SECOND,
                mode=0,
            ),
            keys,
        )
        for mail in checker.stored_mail(near)
    )


def told_to_curl(place: Place) -> list[str]:
    """Flags, keywords and date of each message, as the server tells curl."""
    assert place.server is not None
    url = f"imap://127.0.0.1:{place.server.port}/INBOX"
    asked = ("--user", "alice:secret", "--request", "FETCH 1:* (FLAGS INTERNALDATE)")
    answer = peers.run("curl", "--silent", *asked, url, directory=place.places.directory)
    found = re.findall(r"FLAGS \(([^)]*)\) INTERNALDATE (\"[^\"]*\")", answer.decode())
    recent = {"\\Recent"}
    return sorted(f"{sorted(set(flags.split()) - recent)} {date}" for flags, date in found)


def test_mbsync_and_curl_read_the_same_flags_keywords_and_dates_afterwards(
    places: Places, keys: Keys
) -> None:
    for program in ("mbsync", "curl"):
        peers.require(program)
    place = places.made("dovecot", places.directory / "mail")
    assert place.server is not None
    client = place.server.connect()
    client.select("INBOX")
    client.uid("STORE", "1:3", "+FLAGS", "($Forwarded Work-ABC)")
    client.logout()
    before = carried(place, keys.old), told_to_curl(place)
    assert len(before[1]) == 6
    assert "Work-ABC" in "".join(before[1])
    for operation in ("decrypt", "encrypt"):
        jobs.run(place.run(operation))
    assert (carried(place, keys.new), told_to_curl(place)) == before
