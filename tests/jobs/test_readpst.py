"""What readpst makes of Outlook's PST files, imitated line by line: nothing here writes a PST.

``readpst -r`` writes a directory for each folder with a file ``mbox`` and, beside it, files for
what is no mail; ``readpst -e`` writes a file ``1.eml`` for each message. Both make each message
anew as a multipart, and begin one that is attached to another with a quoted separator line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sectool import jobs
from sectool.outcome import State
from tests.support import checker
from tests.support.mailboxes import Keys, encrypted
from tests.support.mbox_files import messages_in
from tests.support.specifications import Specify

CONTACT = b"BEGIN:VCARD\nFN:Bob\nVERSION: 3.0\nEND:VCARD\n\n"

OTHERS = {"contacts", "4.vcf"}

PART = b"""
--%(boundary)s
Content-Type: application/pkcs7-mime
Content-Transfer-Encoding: base64
Content-Disposition: attachment;\x20
        filename*=utf-8''smime.p7m;
        filename="smime.p7m"

"""

ATTACHED = b"""
--%(boundary)s
Content-Type: message/rfc822

"""

HEADER = b"""Received: from a.example.org by b.example.org;
\tMon, 7 Jan 2019 10:00:00 +0100
From: Bob <bob@example.org>
Subject: message %(number)d
Date: Mon, 7 Jan 2019 10:00:00 +0100
%(status)sMIME-Version: 1.0
Content-Type: multipart/mixed;
\tboundary="%(boundary)s"

"""

LINE = b'From "bob@example.org" Mon Jan  7 09:00:00 2019\n'


def written(number: int, body: bytes, *, status: bytes = b"Status: RO\n") -> bytes:
    """One message, without its separator line."""
    boundary = b"--boundary-LibPST-iamunique-%d_-_-" % (1804289383 + number)
    fields = {b"number": number, b"status": status, b"boundary": boundary}
    return (HEADER + body) % fields + b"\n--%s--\n\n" % boundary


def messages(keys: Keys) -> list[bytes]:
    """An encrypted message, one in clear, and one with an encrypted message attached."""
    bodies = [encrypted(number, keys.old).partition(b"\n\n")[2] for number in (1, 2)]
    text = b'\n--%(boundary)s\nContent-Type: text/plain; charset="utf-8"\n\nsee below\n'
    attached = written(2, PART + bodies[1])
    return [
        written(1, PART + bodies[0]),
        written(3, text + b"\nFrom here on\n", status=b""),
        written(4, text + ATTACHED + b">" + LINE + attached.replace(b"%", b"%%")),
    ]


def quoted(raw: bytes) -> bytes:
    """As it quotes: texts, but not the lines that it writes itself."""
    return raw.replace(b"\nFrom here", b"\n>From here")


def put_mbox(root: Path, mail: list[bytes]) -> None:
    folder = root / "Personal Folders" / "Inbox"
    folder.mkdir(parents=True)
    (folder / "mbox").write_bytes(b"".join(LINE + quoted(raw) for raw in mail))
    (folder / "contacts").write_bytes(CONTACT)


def put_eml(root: Path, mail: list[bytes]) -> None:
    folder = root / "Personal Folders" / "Inbox"
    folder.mkdir(parents=True)
    for number, raw in enumerate(mail, start=1):
        (folder / f"{number}.eml").write_bytes(raw)
    (folder / "4.vcf").write_bytes(CONTACT)


def stored(root: Path) -> list[bytes]:
    """The messages, as they lie in the files."""
    boxes = sorted(root.rglob("mbox"))
    if boxes:
        return [one.raw for box in boxes for one in messages_in(box.read_bytes())]
    return [path.read_bytes() for path in sorted(root.rglob("*.eml"))]


def others(root: Path) -> dict[Path, bytes]:
    """What lies beside the mail."""
    return {path: path.read_bytes() for path in root.rglob("*") if path.name in OTHERS}


def opened(raw: bytes, key: checker.Key) -> list[bytes | None]:
    # The standard library takes the line of an attached message for the end of its header.
    readable = raw.replace(b"\n>" + LINE, b"\n")
    return [checker.opened(one, key) for one in checker.envelopes(readable)]


def separators(raw: bytes) -> list[bytes]:
    return [line for line in raw.splitlines() if b"From " in line]


@pytest.mark.parametrize("put", [put_mbox, put_eml])
def test_what_readpst_writes_is_decrypted_and_encrypted_and_all_else_is_kept(
    tmp_path: Path, keys: Keys, specify: Specify, put: Callable[[Path, list[bytes]], None]
) -> None:
    root = tmp_path / "archive"
    put(root, messages(keys))
    before, beside = stored(root), others(root)
    assert [[*map(bool, opened(raw, keys.old))] for raw in before] == [[True], [], [True]]
    assert jobs.run(specify("decrypt", root)).counts[State.CHECKPOINTED] == 2
    summary = jobs.run(specify("encrypt", root))
    assert (summary.exit_code, summary.counts[State.REENCRYPTED], summary.messages) == (0, 2, 3)
    after = stored(root)
    assert [opened(raw, keys.new) for raw in after] == [opened(raw, keys.old) for raw in before]
    assert [*map(separators, after)] == [*map(separators, before)]
    assert after[1] == before[1]
    assert others(root) == beside != {}
    assert jobs.run(specify("rollback", None)).exit_code == 0
    assert stored(root) == before
