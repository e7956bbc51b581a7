"""Content-Type and Content-Disposition as they occur."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from sectool.mime.content_type import parse_content_type, parse_disposition

VALUES: dict[bytes, tuple[str, dict[str, bytes]]] = {
    b"text/plain": ("text/plain", {}),
    b"TEXT/Plain; Charset=UTF-8": ("text/plain", {"charset": b"UTF-8"}),
    b'multipart/mixed; boundary="a b;c"': ("multipart/mixed", {"boundary": b"a b;c"}),
    b"multipart/mixed; boundary==_abc": ("multipart/mixed", {"boundary": b"=_abc"}),
    b"multipart/mixed; boundary = x ; y=z": ("multipart/mixed", {"boundary": b"x", "y": b"z"}),
    b'multipart/mixed; boundary="a\\"b"': ("multipart/mixed", {"boundary": b'a"b'}),
    b'multipart/mixed; boundary="open': ("multipart/mixed", {"boundary": b"open"}),
    b"multipart/mixed boundary=x": ("multipart/mixed", {"boundary": b"x"}),
    b"multipart/mixed;; boundary=x;": ("multipart/mixed", {"boundary": b"x"}),
    b"a/b (one (two) three); (four) n=v (five); m=w": ("a/b", {"n": b"v", "m": b"w"}),
    b"a/b; n=1; N=2": ("a/b", {"n": b"1"}),
    b"a/b; name=my file.p7m; n=1": ("a/b", {"name": b"my file.p7m", "n": b"1"}),
    b"a/b; name*=utf-8''sm%69me.p7m": ("a/b", {"name": b"smime.p7m"}),
    b"a/b; name*0=smime; name*1=.p7m": ("a/b", {"name": b"smime.p7m"}),
    b"a/b; name*1*=%2Ep7m; name*0*=us-ascii'en'smime": ("a/b", {"name": b"smime.p7m"}),
    b"a/b; word; n=1": ("a/b", {"n": b"1"}),
    b"a / b; n=": ("a/b", {"n": b""}),
}


@pytest.mark.parametrize("value", VALUES, ids=bytes.decode)
def test_a_content_type_is_read_with_its_parameters(value: bytes) -> None:
    parsed = parse_content_type(value)
    assert parsed is not None
    assert (parsed.value, parsed.parameters) == VALUES[value]


@pytest.mark.parametrize("value", [b"", b"text", b"/plain", b"; x=y", b"(", b"\xff/\xff"])
def test_what_names_no_media_type_is_none(value: bytes) -> None:
    assert parse_content_type(value) is None


DISPOSITIONS: dict[bytes, tuple[str, bytes | None]] = {
    b'attachment; filename="smime.p7m"': ("attachment", b"smime.p7m"),
    b"INLINE": ("inline", None),
    b"filename=smime.p7m": ("", b"smime.p7m"),
    b"": ("", None),
}


@pytest.mark.parametrize("value", DISPOSITIONS, ids=bytes.decode)
def test_a_disposition_is_read_with_its_file_name(value: bytes) -> None:
    parsed = parse_disposition(value)
    assert (parsed.value, parsed.parameters.get("filename")) == DISPOSITIONS[value]


@given(st.binary(max_size=200) | st.text("a/b;=*'\"\\() 0%\t", max_size=60).map(str.encode))
def test_no_value_whatever_makes_the_parser_raise(value: bytes) -> None:
    parse_content_type(value)
    parse_content_type(b"a/b;" + value)
    parse_disposition(value)
