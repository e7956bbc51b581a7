"""mbsync carries a rewritten Maildir to where it was fetched from, in each layout it knows."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from sectool import jobs
from sectool.outcome import State
from tests.support import checker, peers
from tests.support.mailboxes import CLEAR, Keys, encrypted
from tests.support.specifications import Specify

CONFIGURATION = """
MaildirStore far
Path {0}/far/
Inbox {0}/far/INBOX
SubFolders Verbatim

MaildirStore near
Path {0}/near/
Inbox {0}/near/INBOX
SubFolders {1}

Channel all
Far :far:
Near :near:
Patterns *
Create Near
Expunge Both
SyncState *
"""

FOLDERS = ("INBOX", "Work", "Work/Old", "Work/Old/2014")

PLACES = {
    "Verbatim": ("INBOX", "Work", "Work/Old", "Work/Old/2014"),
    "Legacy": ("INBOX", "Work", "Work/.Old", "Work/.Old/.2014"),
}


def sync(directory: Path) -> None:
    peers.run("mbsync", "--config", directory / "mbsyncrc", "all", directory=directory)


def mail_of(mailbox: Path, *keys: checker.Key) -> Counter[tuple[object, ...]]:
    """What there is by folder and flags, whatever mbsync made of names and times.

    It marks each message that it carries by a field of the header.
    """
    found: Counter[tuple[object, ...]] = Counter()
    for mail in checker.stored_mail(mailbox):
        unmarked = replace(mail, raw=re.sub(rb"(?m)^X-TUID: .*\n", b"", mail.raw))
        *_, what = checker.meaning(unmarked, keys)
        found[mail.folder.replace("..", "."), mail.flags, what] += 1
    return found


@pytest.mark.parametrize("layout", ["Legacy", pytest.param("Verbatim", marks=pytest.mark.all_only)])
def test_a_rewritten_maildir_is_carried_back_without_loss_or_doubling(
    tmp_path: Path, keys: Keys, specify: Specify, layout: str
) -> None:
    peers.require("mbsync")
    (tmp_path / "mbsyncrc").write_text(CONFIGURATION.format(tmp_path, layout))
    far, near = tmp_path / "far", tmp_path / "near"
    for number, folder in enumerate(FOLDERS):
        for part in ("cur", "new", "tmp"):
            (far / folder / part).mkdir(parents=True)
        (far / folder / "cur" / f"{number}.host:2,FS").write_bytes(encrypted(number, keys.old))
        (far / folder / "cur" / f"{number}.clear:2,S").write_bytes(CLEAR)
    before = mail_of(far, keys.old)
    near.mkdir()
    sync(tmp_path)
    assert {str(path.parent.relative_to(near)) for path in near.rglob("cur")} == {*PLACES[layout]}
    for operation, state in (("decrypt", State.CHECKPOINTED), ("encrypt", State.REENCRYPTED)):
        summary = jobs.run(specify(operation, near))
        assert summary.counts[state] == len(FOLDERS)
        assert summary.messages == 2 * len(FOLDERS)
    for _ in range(2):
        sync(tmp_path)
        assert mail_of(far, keys.new) == mail_of(near, keys.new) == before
    # What came back from there is the same mail to the next run.
    assert jobs.run(specify("verify", near)).counts[State.REENCRYPTED] == len(FOLDERS)
