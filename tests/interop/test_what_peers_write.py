"""Everything that other programs write opens, or is told apart and left as it is."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest

from sectool import cms, smime
from sectool.errors import UnsupportedMessage
from sectool.message import BytesContent
from tests.interop.table import OPENS, PeerName, Table
from tests.interop.writing import SECRETS, WRITINGS, Form, Writing
from tests.support.forge import key_ring
from tests.support.identities import certified
from tests.support.opening import open_envelope
from tests.support.peers import Peer, PeerRefused

PeerOf = Callable[[PeerName], Peer]

CONTENT = b"Content-Type: text/plain\r\n\r\n" + bytes(range(256)) * 80
HEADER = b"MIME-Version: 1.0\r\nContent-Type: application/pkcs7-mime; name=smime.p7m\r\n\r\n"
MAIL = [writing for writing in WRITINGS if writing.form is not Form.CMS]


def of_kind(*, opens: bool = False, unsupported: bool = False) -> pytest.MarkDecorator:
    """Runs a test on each piece of writing of a kind; on the refused ones by default."""
    chosen = [
        writing
        for writing in WRITINGS
        if writing not in MAIL
        and (not writing.cannot, bool(writing.unsupported)) == (opens or unsupported, unsupported)
    ]
    return pytest.mark.parametrize("writing", chosen, ids=[writing.name for writing in chosen])


def written(writing: Writing, peer: Peer) -> list[bytes]:
    """An envelope to each kind of key, or one to all of them, or to nobody."""
    people = [certified(kind) for kind in writing.kinds]
    if writing.is_one_envelope:
        return [peer.seal(CONTENT, *writing.words, to=people)] * len(people)
    of_each = [[person] for person in people] or [[]]
    return [peer.seal(CONTENT, *writing.words, to=to) for to in of_each]


@pytest.mark.parametrize("writing", MAIL, ids=[writing.name for writing in MAIL])
def test_mail_that_a_peer_writes_opens(writing: Writing, peer_of: PeerOf, table: Table) -> None:
    text = b"Content-Type: text/plain\r\n\r\n" + b"The plans are in the blue folder.\r\n" * 100
    person = certified(*writing.kinds)
    raw = peer_of(writing.peer).seal(text, *writing.words, to=[person])
    content = BytesContent(raw if writing.form is Form.MESSAGE else HEADER + raw)
    (part,) = smime.take_inventory(content).parts
    sink = io.BytesIO()
    smime.find_opening(part, key_ring(person)).inner.write_to(sink)
    assert sink.getvalue() == text
    table.see(writing.cell, OPENS)


@of_kind(opens=True)
def test_what_a_peer_writes_opens(writing: Writing, peer_of: PeerOf, table: Table) -> None:
    rings = [key_ring(certified(kind)) for kind in writing.kinds] or [key_ring()]
    for raw, ring in zip(written(writing, peer_of(writing.peer)), rings, strict=True):
        sink = io.BytesIO()
        result = open_envelope(BytesContent(raw), sink, ring, secrets=SECRETS)
        assert sink.getvalue() == CONTENT
        assert isinstance(result, cms.Authenticated) == writing.is_authenticated
        assert isinstance(result.identifier, writing.identified_by or type(None))
        description = cms.describe_envelope(BytesContent(raw))
        named = {recipient.key_encryption_algorithm for recipient in description.recipients}
        assert named | {description.content_encryption_algorithm} >= set(writing.names)
    table.see(writing.cell, OPENS)


@of_kind(unsupported=True)
def test_what_sectool_does_not_know_of_a_peer_it_names(
    writing: Writing, peer_of: PeerOf, table: Table
) -> None:
    ring = key_ring(*map(certified, writing.kinds))
    says = f"{writing.unsupported} (is|are) not supported"
    for raw in written(writing, peer_of(writing.peer)):
        with pytest.raises(UnsupportedMessage, match=says):
            open_envelope(BytesContent(raw), io.BytesIO(), ring)
    table.see(writing.cell, "unsupported")


@of_kind()
def test_what_a_peer_does_not_write_it_refuses(
    writing: Writing, peer_of: PeerOf, table: Table
) -> None:
    with pytest.raises(PeerRefused) as refusal:
        written(writing, peer_of(writing.peer))
    words = re.search(writing.cannot, str(refusal.value))
    assert words is not None, refusal.value
    table.see(writing.cell, f"cannot: {words[0]}")
