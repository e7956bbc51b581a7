"""Mail is decrypted in one kind of store, copied into another, and encrypted there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sectool import jobs
from sectool.message import Flags
from sectool.outcome import State
from tests.support import checker
from tests.support.checker import StoredMail
from tests.support.dovecot import OWNER, mbox_of_dovecot
from tests.support.eml_world import EmlWorld
from tests.support.mail_programs import Mutt, uncounted
from tests.support.mailboxes import CLEAR, Keys, encrypted
from tests.support.mbox_world import MboxWorld
from tests.support.specifications import Specify

SECOND = 1_000_000_000
NESTED = {"": "INBOX", ".Work": "Work", ".Work.Old": "Work/Old"}


def mail_of(keys: Keys) -> list[StoredMail]:
    """Three encrypted messages in three folders, and one in clear."""
    time = 1_300_000_000 * SECOND
    return [
        StoredMail("", "1", "FRS", time, 0, encrypted(1, keys.old)),
        StoredMail(".Work", "2", "", time + SECOND, 0, encrypted(2, keys.old)),
        StoredMail(".Work.Old", "3", "DS", time + 2 * SECOND, 0, encrypted(3, keys.old)),
        StoredMail("", "4", "S", time + 3 * SECOND, 0, CLEAR + b"\nFrom here on\n>From me\n"),
    ]


def put_maildir(root: Path, mail: Iterable[StoredMail], *, nested: bool = False) -> None:
    for folder, name in NESTED.items():
        for part in ("cur", "new", "tmp"):
            (root / (name if nested else folder) / part).mkdir(parents=True)
    for number, one in enumerate(mail):
        directory = root / (NESTED[one.folder] if nested else one.folder)
        path = directory / "cur" / f"{number}.host:2,{one.flags}"
        path.write_bytes(one.raw)
        os.utime(path, ns=(one.mtime_ns, one.mtime_ns))


def put_nested(root: Path, mail: Iterable[StoredMail]) -> None:
    put_maildir(root, mail, nested=True)


def put_mbox(root: Path, mail: Iterable[StoredMail]) -> None:
    _deliver(MboxWorld(root), mail)


def put_eml(root: Path, mail: Iterable[StoredMail]) -> None:
    _deliver(EmlWorld(root), mail)


def _deliver(world: MboxWorld | EmlWorld, mail: Iterable[StoredMail]) -> None:
    for one in mail:
        flags = Flags(frozenset(checker.FLAGS[letter] for letter in one.flags))
        date = datetime.fromtimestamp(one.mtime_ns // SECOND, UTC)
        world.deliver(NESTED[one.folder], one.raw, flags=flags, date=date)


STORES: dict[str, Callable[[Path, Iterable[StoredMail]], None]] = {
    "maildir": put_maildir,
    "nested": put_nested,
    "mbox": put_mbox,
    "eml": put_eml,
}
WAYS = [(one, other) for one in STORES for other in STORES]
SAMPLE = {("maildir", "mbox"), ("mbox", "nested"), ("eml", "mbox"), ("nested", "eml")}


def stored(root: Path) -> list[StoredMail]:
    """What mail programs see; folders as a Maildir++ names them."""
    return [
        replace(mail, folder=mail.folder.replace("/", ".").replace("..", "."))
        for mail in checker.stored_mail(root)
    ]


def meanings(mail: Iterable[StoredMail], keys: Keys, *, flags: bool = True) -> Counter[object]:
    """By folder, flags, date in seconds, and what is inside."""
    found: Counter[object] = Counter()
    for one in mail:
        folder, marks, time, _, what = checker.meaning(one, (keys.old, keys.new))
        found[folder, marks if flags else "", int(str(time)) // SECOND, what] += 1
    return found


@pytest.mark.parametrize(
    ("source", "target"),
    [pytest.param(*way, marks=() if way in SAMPLE else pytest.mark.all_only) for way in WAYS],
)
def test_mail_decrypted_in_one_kind_of_store_is_encrypted_in_another(
    tmp_path: Path, keys: Keys, specify: Specify, source: str, target: str
) -> None:
    mail = mail_of(keys)
    STORES[source](tmp_path / "source", mail)
    assert jobs.run(specify("decrypt", tmp_path / "source")).counts[State.CHECKPOINTED] == 3
    STORES[target](tmp_path / "target", stored(tmp_path / "source"))
    summary = jobs.run(specify("encrypt", tmp_path / "target"))
    assert (summary.exit_code, summary.counts[State.REENCRYPTED], summary.messages) == (0, 3, 4)
    found = stored(tmp_path / "target")
    flags = "eml" not in {source, target}
    assert meanings(found, keys, flags=flags) == meanings(mail, keys, flags=flags)
    if not flags:
        assert {one.flags for one in found} in ({""}, {"S"})
    assert opened_by_new(found, keys) == 3
    # And the source is as it was.
    assert meanings(stored(tmp_path / "source"), keys, flags=source != "eml") == meanings(
        mail, keys, flags=source != "eml"
    )


def opened_by_new(mail: Iterable[StoredMail], keys: Keys) -> int:
    return sum(
        checker.opened(envelope, keys.new) is not None
        for one in mail
        for envelope in checker.envelopes(one.raw)
    )


@pytest.mark.parametrize(
    ("source", "target"),
    [("mbox", "maildir"), pytest.param("maildir", "mbox", marks=pytest.mark.all_only)],
)
def test_mail_that_mutt_copied_into_another_kind_of_store_is_encrypted_there(
    tmp_path: Path, keys: Keys, specify: Specify, source: str, target: str
) -> None:
    mutt = Mutt.start(tmp_path)
    mail = [replace(one, folder="") for one in mail_of(keys)]
    # A draft is no longer one where mutt copied it.
    mail[2] = replace(mail[2], flags="S")
    STORES[source](tmp_path / "source", mail)
    box = tmp_path / "source" / ("Inbox" if source == "mbox" else "")
    jobs.run(specify("decrypt", box))
    mutt.copy(box, tmp_path / "target", {"maildir": "Maildir", "mbox": "mbox"}[target])
    assert jobs.run(specify("encrypt", tmp_path / "target")).counts[State.REENCRYPTED] == 3
    found = [replace(one, raw=uncounted(one.raw)) for one in stored(tmp_path / "target")]
    assert opened_by_new(found, keys) == 3
    # mutt keeps no date of a Maildir, and does not undo the quoting of an mbox.
    if target == "mbox":
        found, mail = ([replace(one, mtime_ns=0) for one in each] for each in (found, mail))
    found, mail = ([one for one in each if checker.envelopes(one.raw)] for each in (found, mail))
    assert meanings(found, keys) == meanings(mail, keys)


LOCATIONS = {
    "maildir": "maildir:{0}",
    "nested": "maildir:{0}:LAYOUT=fs:INBOX={0}/INBOX",
    "mbox": "mbox:{0}:INBOX={0}/Inbox:INDEX=MEMORY",
}
OF_DOVEADM = [(one, other) for one in LOCATIONS for other in LOCATIONS if one != other]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        pytest.param(*way, marks=() if way == ("mbox", "nested") else pytest.mark.all_only)
        for way in OF_DOVEADM
    ],
)
def test_mail_that_doveadm_copied_into_another_kind_of_store_is_encrypted_there(
    keys: Keys, specify: Specify, source: str, target: str
) -> None:
    # Dovecot has no level below a file, and quotes nothing.
    mail = [mail_of(keys)[0], mail_of(keys)[1], replace(mail_of(keys)[3], raw=CLEAR)]
    with mbox_of_dovecot() as doveadm:
        places = {name: doveadm.home / f"of_{name}" for name in (source, target)}
        STORES[source](places[source], mail)
        jobs.run(specify("decrypt", places[source]))
        for path in (places[source], *places[source].rglob("*")):
            os.chown(path, OWNER, OWNER)
        here, there = (LOCATIONS[name].format(places[name]) for name in (source, target))
        doveadm.run("-o", f"mail_location={there}", "import", here, "", "all")
        summary = jobs.run(specify("encrypt", places[target]))
        assert (summary.exit_code, summary.counts[State.REENCRYPTED], summary.messages) == (0, 2, 3)
        found = stored(places[target])
        assert opened_by_new(found, keys) == 2
        assert meanings(found, keys) == meanings(mail, keys)
