"""``pkcs11:`` URIs are read as RFC 7512 writes them, and never hold a PIN."""

from __future__ import annotations

import pickle
from dataclasses import replace

import pytest

from sectool.errors import UsageError
from sectool.keys.token_uri import TokenURI, is_token_uri, parse_token_uri

URIS: dict[str, tuple[str, TokenURI]] = {
    "nothing": ("pkcs11:", TokenURI()),
    "token": ("pkcs11:token=My%20card", TokenURI(token="My card")),
    "object and type": ("pkcs11:object=a%2Fb;type=private", TokenURI(object="a/b")),
    "id": ("pkcs11:id=%01%ffA", TokenURI(id=b"\x01\xffA")),
    "slot": ("pkcs11:slot-id=17", TokenURI(slot_id=17)),
    "all of a token": (
        "pkcs11:token=a;manufacturer=b;serial=c;model=d",
        TokenURI(token="a", manufacturer="b", serial="c", model="d"),
    ),
    "module": (
        "pkcs11:?module-path=/usr/lib/a.so&module-name=b",
        TokenURI(module_path="/usr/lib/a.so", module_name="b"),
    ),
    "file with the PIN": ("pkcs11:?pin-source=/run/pin", TokenURI(pin_source="/run/pin")),
    "file as a URI": ("pkcs11:?pin-source=file:///run/pin", TokenURI(pin_source="/run/pin")),
    "file as a path made of a URI": (
        "pkcs11:?pin-source=file:/run/pin",
        TokenURI(pin_source="/run/pin"),
    ),
}


@pytest.mark.parametrize(("text", "expected"), URIS.values(), ids=URIS)
def test_a_uri_is_read(text: str, expected: TokenURI) -> None:
    assert is_token_uri(text)
    assert parse_token_uri(text) == expected
    assert pickle.loads(pickle.dumps(expected)) == expected


def test_a_uri_is_shown_without_its_query_and_reads_back() -> None:
    uri = TokenURI(token="a b/c", serial="1;2", slot_id=3, object="Käse", id=b"\0\x7f")
    shown = str(replace(uri, pin_source="/run/pin"))
    assert "?" not in shown
    assert "/" not in shown
    assert parse_token_uri(shown) == uri


BAD = {
    "PIN": "pkcs11:token=a?pin-value=4711",
    "PIN among the attributes": "pkcs11:pin-value=4711",
    "unknown attribute": "pkcs11:colour=4711",
    "no value": "pkcs11:token",
    "query in the path": "pkcs11:module-path=/4711",
    "twice": "pkcs11:token=a;token=4711",
    "slot that is no number": "pkcs11:slot-id=x4711",
    "type of another object": "pkcs11:type=cert",
    "text that is not UTF-8": "pkcs11:token=%ff4711",
    "program for the PIN": "pkcs11:?pin-source=|4711",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_a_uri_that_makes_no_sense_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_token_uri(text)
    assert "4711" not in caught.value.message + caught.value.hint
    assert caught.value.hint
