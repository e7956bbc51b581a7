"""Of all wrappers around an encrypted part only a mailing list's footer is recognised."""

from __future__ import annotations

import base64

import pytest

from sectool import smime
from sectool.message import BytesContent
from sectool.outcome import State
from tests.support.layers import FOOTER, LIST_ID, TEXT, forward, message, multipart

WRAPPED = smime.ClearSelection(wrapped=True)
LIST_POST = b"List-Post: <mailto:list@example.org>\r\n"


@pytest.fixture(scope="module")
def part(envelope: bytes) -> bytes:
    text = base64.encodebytes(envelope).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    fields = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: base64\r\n"
    return fields + b"\r\n" + text


def take(raw: bytes) -> smime.Inventory:
    return smime.take_inventory(BytesContent(raw))


def recognised(part: bytes) -> dict[str, bytes]:
    bare = b"\r\n_____\r\nlist@example.org"
    encoded = b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(b"____\r\n")
    return {
        "footer": message(1, multipart(part, FOOTER), LIST_ID),
        "footer, by List-Post": message(1, multipart(part, FOOTER), LIST_POST),
        "header": message(1, multipart(FOOTER, part), LIST_ID),
        "header and footer": message(1, multipart(FOOTER, part, FOOTER), LIST_ID),
        "footer without header fields": message(1, multipart(part, bare), LIST_ID),
        "encoded footer": message(1, multipart(part, encoded), LIST_ID),
        "inline footer": message(
            1, multipart(part, b"Content-Disposition: inline\r\n" + FOOTER), LIST_ID
        ),
        "forward of such a mail": message(
            1, multipart(TEXT, forward(message(2, multipart(part, FOOTER), LIST_ID)), boundary=b"o")
        ),
    }


@pytest.mark.parametrize("name", recognised(b""))
def test_a_list_footer_may_stand_beside_a_plaintext_only_when_asked_for(
    name: str, part: bytes
) -> None:
    inventory = take(recognised(part)[name])
    (one,) = inventory.parts
    assert (inventory.state, one.placement) == (State.ENCRYPTED, smime.Placement.LIST_FOOTER)
    assert "--wrapped" in smime.ClearSelection(nested=True).why_left(one)
    assert not WRAPPED.why_left(one)


def not_recognised(part: bytes) -> dict[str, bytes]:
    html = b'Content-Type: text/html\r\n\r\n<img src="https://example.com/'
    named = b"Content-Disposition: attachment; filename=a.txt\r\n" + FOOTER
    quiet = part.replace(b"application/pkcs7-mime", b"application/octet-stream")
    return {
        "no list": message(1, multipart(part, FOOTER)),
        "sandwich of HTML": message(1, multipart(html, part, html), LIST_ID),
        "HTML before": message(1, multipart(html, part), LIST_ID),
        "footer of HTML": message(1, multipart(part, html), LIST_ID),
        "attachment": message(1, multipart(part, named), LIST_ID),
        "two texts after": message(1, multipart(part, FOOTER, FOOTER), LIST_ID),
        "four parts": message(1, multipart(FOOTER, part, FOOTER, FOOTER), LIST_ID),
        "two encrypted parts": message(1, multipart(part, part), LIST_ID),
        "two encrypted parts and a footer": message(1, multipart(part, part, FOOTER), LIST_ID),
        "long text": message(1, multipart(part, FOOTER + b"x" * 16_384), LIST_ID),
        "not labelled as S/MIME": message(1, multipart(quiet, FOOTER), LIST_ID),
        "not the body of the message": message(
            1, multipart(multipart(part, FOOTER), boundary=b"o"), LIST_ID
        ),
        "a multipart of another kind": message(
            1, multipart(part, FOOTER, subtype=b"alternative"), LIST_ID
        ),
        "a multipart inside": message(
            1, multipart(part, multipart(FOOTER, boundary=b"i")), LIST_ID
        ),
        "a list of the forwarded mail": message(
            1, multipart(part, forward(message(2, FOOTER, LIST_ID)))
        ),
        "odd fields in the footer": message(
            1, multipart(part, b"Subject: x\r\n" + FOOTER), LIST_ID
        ),
        "unreadable type": message(
            1, multipart(part, FOOTER.replace(b"text/plain", b"text")), LIST_ID
        ),
    }


@pytest.mark.parametrize("name", not_recognised(b""))
def test_a_plaintext_never_stands_in_other_wrappers(name: str, part: bytes) -> None:
    inventory = take(not_recognised(part)[name])
    assert inventory.state is State.ENCRYPTED
    for one in inventory.parts:
        reason = smime.ClearSelection(nested=True, wrapped=True).why_left(one)
        assert "is not the whole body of a message" in reason


def test_a_list_footer_under_a_signature_stays_sealed(part: bytes) -> None:
    signed = multipart(multipart(part, FOOTER), TEXT, subtype=b"signed", boundary=b"s")
    inventory = take(message(1, signed, LIST_ID))
    assert inventory.state is State.UNDER_SIGNATURE
    assert WRAPPED.why_left(inventory.parts[0])
