"""B46 to B72: what is wrong with a message around its encryption, or inside."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from functools import partial

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from sectool.asn1 import der
from sectool.cms import oids
from sectool.outcome import State
from tests.bad_inputs.algorithms import PAGE
from tests.bad_inputs.people import Forger
from tests.bad_inputs.vector import CONTENT, Message

TEXT = b"Content-Type: text/plain\r\n\r\nhello"
OUTER = b"From: alice@example.org\r\nTo: bob@example.org\r\nSubject: plans\r\nMIME-Version: 1.0\r\n"


def message(entity: bytes, fields: bytes = b"") -> bytes:
    """A stored message."""
    return OUTER + fields + entity


def entity(cms: bytes, label: bytes = b"application/pkcs7-mime; name=smime.p7m") -> bytes:
    """CMS in base64, under a label."""
    text = base64.encodebytes(cms).replace(b"\n", b"\r\n").removesuffix(b"\r\n")
    return b"Content-Type: " + label + b"\r\nContent-Transfer-Encoding: base64\r\n\r\n" + text


def multipart(*parts: bytes, subtype: bytes = b"mixed", boundary: bytes = b"outer") -> bytes:
    """An entity with these inside."""
    head = b"Content-Type: multipart/" + subtype + b'; boundary="' + boundary + b'"\r\n\r\n'
    delimiter = b"--" + boundary
    return (
        head + b"".join(delimiter + b"\r\n" + part + b"\r\n" for part in parts) + delimiter + b"--"
    )


def forwarded(raw: bytes) -> bytes:
    """An entity that is a message."""
    return b"Content-Type: message/rfc822\r\n\r\n" + raw


def signed(forge: Forger, content: bytes) -> bytes:
    """An opaque signature of the stranger's."""
    builder = pkcs7.PKCS7SignatureBuilder().set_data(content)
    person = forge.stranger
    builder = builder.add_signer(person.certificate, person.key, hashes.SHA256())
    return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.Binary])


def compressed(content: bytes) -> bytes:
    """CompressedData (RFC 3274)."""
    algorithm = der.sequence(der.oid("1.2.840.113549.1.9.16.3.8"))
    inside = der.explicit(0, der.octet_string(zlib.compress(content)))
    info = der.sequence(der.oid(oids.ID_DATA), inside)
    body = der.sequence(der.integer(0), algorithm, info)
    return der.sequence(der.oid(oids.COMPRESSED_DATA), der.explicit(0, body))


def _compressed_ten_times(forge: Forger) -> bytes:
    raw = b"A" * 1_000_000
    for _ in range(10):
        raw = entity(compressed(raw))
    return message(raw)


def _with_content(forge: Forger, content: bytes) -> bytes:
    return message(entity(forge.cbc(content)))


def _with_proven_content(forge: Forger, content: bytes) -> bytes:
    return message(entity(forge.gcm(content)))


def _encoded(forge: Forger, encoding: bytes, encode: Callable[[bytes], bytes]) -> bytes:
    fields = b"Content-Type: application/pkcs7-mime\r\nContent-Transfer-Encoding: " + encoding
    return message(fields + b"\r\n\r\n" + encode(forge.cbc()))


def _labelled(forge: Forger, label: bytes) -> bytes:
    return message(entity(forge.cbc(), label))


def _of_zip(forge: Forger) -> bytes:
    head = b"Content-Type: application/zip\r\nContent-Transfer-Encoding: binary\r\n\r\nPK\3\4"
    return _with_content(forge, head + zlib.compress(bytes(range(256)) * 40))


_DEEP = b"".join(
    b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (depth, depth)
    for depth in range(1000)
)
_PGP = b"-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA1234567890abcdefghijkl\r\n-----END PGP"
_ENCODINGS: dict[str, tuple[bytes, Callable[[bytes], bytes], State, str]] = {
    "foreign-characters": (
        b"base64",
        lambda raw: base64.encodebytes(raw).replace(b"\n", b"!\n", 4),
        State.CHECKPOINTED,
        "",
    ),
    "no-padding": (
        b"base64",
        lambda raw: base64.b64encode(raw).rstrip(b"="),
        State.CHECKPOINTED,
        "",
    ),
    "one-line": (b"base64", base64.b64encode, State.CHECKPOINTED, ""),
    "binary": (b"binary", lambda raw: raw, State.CHECKPOINTED, ""),
    "cut": (b"base64", lambda raw: base64.b64encode(raw)[:-30], State.MALFORMED, "damaged"),
}
_LABELS = {
    "octet-stream": b"application/octet-stream; name=smime.p7m",
    "x-pkcs7-mime": b"application/x-pkcs7-mime",
    "smime-type-of-a-signature": b"application/pkcs7-mime; smime-type=signed-data",
    "p7s": b"application/pkcs7-signature; name=smime.p7s",
}
_INNER_FIELDS = {
    "B63": b'Content-Type: text/plain; hp="cipher"\r\nFrom: mallory@example.com\r\n',
    "B64": b"Content-Type: text/plain\r\nSubject: =?utf-8?q?a=0D=0ABcc:_b?=\r\n",
    "B65": b"Content-Type: text/plain\r\nBcc: secret@example.com\r\n",
}

MESSAGES = (
    Message(
        "B46",
        "nobody.multiparts-1000-deep",
        lambda forge: b"A: 1\r\n" + _DEEP,
        State.UNSUPPORTED,
        "deep",
    ),
    Message(
        "B47",
        "nobody.parts.hundred-thousand",
        lambda forge: message(multipart(TEXT)[:-9] + b"--outer\n\nabc\n" * 100_000),
        State.UNSUPPORTED,
        "parts",
        effort=500,
    ),
    Message(
        "B48",
        "bob.text.multipart.env.boundary-missing",
        lambda forge: _with_content(forge, b"Content-Type: multipart/mixed\r\n\r\nx"),
        State.REVIEW,
        "boundary",
    ),
    Message(
        "B48",
        "bob.env.rfc822.multipart.boundary-begins-another",
        lambda forge: message(
            multipart(multipart(TEXT, forwarded(message(entity(forge.cbc()))), boundary=b"outer2"))
        ),
        State.CHECKPOINTED,
    ),
    Message(
        "B48",
        "bob.env.rfc822.multipart.boundary-of-10-kilobytes",
        lambda forge: message(
            multipart(TEXT, forwarded(message(entity(forge.cbc()))), boundary=b"b" * 10_000)
        ),
        State.CHECKPOINTED,
    ),
    Message(
        "B49",
        "bob.env.rfc822.multipart.no-closing-boundary",
        lambda forge: message(multipart(TEXT, forwarded(message(entity(forge.cbc())))))[
            : -len("\r\n--outer--")
        ],
        State.CHECKPOINTED,
    ),
    Message(
        "B49",
        "bob.multipart.env.no-closing-boundary",
        lambda forge: _with_content(forge, multipart(TEXT, TEXT)[: -len("--outer--")]),
        State.CHECKPOINTED,
    ),
    Message(
        "B50",
        "nobody.header-of-10-megabytes",
        lambda forge: b"A: " + b"x" * 10_000_000,
        State.UNSUPPORTED,
        "header",
    ),
    Message(
        "B50",
        "nobody.100000-fields",
        lambda forge: b"A: 1\n" * 100_000,
        State.UNSUPPORTED,
        "fields",
    ),
    Message(
        "B51",
        "nobody.100000-blank-lines",
        lambda forge: b"\n" * 100_000 + message(TEXT),
        State.UNSUPPORTED,
        "header",
    ),
    Message(
        "B51",
        "bob.text.env.100000-blank-lines",
        lambda forge: _with_content(forge, b"\n" * 100_000 + CONTENT),
        State.REVIEW,
        "header",
    ),
    Message(
        "B52",
        "bob.text.env.nul",
        lambda forge: _with_content(forge, CONTENT + b"\0"),
        State.REVIEW,
        "NUL",
    ),
    Message(
        "B52",
        "bob.text.env.bare-cr-and-lf",
        lambda forge: _with_content(forge, CONTENT + b"a\rb\nc\r\n"),
        State.CHECKPOINTED,
    ),
    Message(
        "B53",
        "bob.text.env.8-bit-header",
        lambda forge: _with_content(forge, b"Subject: \xe4\xff\r\n" + CONTENT),
        State.CHECKPOINTED,
    ),
    *(
        Message(
            "B54",
            f"bob.text.env.base64.{name}",
            partial(_encoded, encoding=encoding, encode=encode),
            state,
            reason,
        )
        for name, (encoding, encode, state, reason) in _ENCODINGS.items()
    ),
    *(
        Message(
            "B55",
            f"bob.text.env.label.{name}",
            partial(_labelled, label=label),
            State.CHECKPOINTED,
        )
        for name, label in _LABELS.items()
    ),
    Message(
        "B56",
        "bob.text.env.multipart.footer-of-a-list",
        lambda forge: message(multipart(entity(forge.cbc()), TEXT)),
        State.CHECKPOINTED,
    ),
    Message(
        "B57",
        "bob.text.env.multipart.sandwich",
        lambda forge: message(
            multipart(
                b'Content-Type: text/html\r\n\r\n<img src="',
                entity(forge.cbc()),
                b'Content-Type: text/html\r\n\r\n">',
            )
        ),
        State.CHECKPOINTED,
    ),
    Message(
        "B58",
        "bob.text.env.rfc822.multipart",
        lambda forge: message(multipart(TEXT, forwarded(message(entity(forge.cbc()))))),
        State.CHECKPOINTED,
    ),
    Message(
        "B59",
        "bob.text.env.signed.env",
        lambda forge: _with_content(forge, entity(signed(forge, entity(forge.cbc()))) + b"\r\n"),
        State.CHECKPOINTED,
    ),
    Message(
        "B60",
        "bob.text.env.multipart-signed",
        lambda forge: message(multipart(entity(forge.cbc()), TEXT, subtype=b"signed")),
        State.UNDER_SIGNATURE,
        "under a signature",
    ),
    Message(
        "B60",
        "bob.text.env.signed",
        lambda forge: message(entity(signed(forge, entity(forge.cbc())))),
        State.UNDER_SIGNATURE,
        "signature",
    ),
    Message(
        "B61",
        "bob.text.signed.env.broken-signature",
        lambda forge: _with_content(forge, entity(signed(forge, TEXT)[:-4] + bytes(4)) + b"\r\n"),
        State.CHECKPOINTED,
    ),
    Message(
        "B62",
        "nobody.compressed.ratio-of-1000",
        lambda forge: message(entity(compressed(b"A" * 1_000_000))),
        State.CLEAR,
    ),
    Message(
        "B62",
        "nobody.compressed.ten-times",
        _compressed_ten_times,
        State.UNSUPPORTED,
        "contents are nested more than 6 deep",
    ),
    Message(
        "B62",
        "nobody.compressed.ratio-of-1000-twice",
        lambda forge: message(entity(compressed(entity(compressed(bytes(300_000_000)))))),
        State.UNSUPPORTED,
        "bytes decompressed",
        effort=250,
    ),
    Message(
        "B62",
        "bob.text.env.compressed",
        lambda forge: message(entity(compressed(entity(forge.cbc())))),
        State.UNSUPPORTED,
        "inside a compression",
    ),
    Message(
        "B62",
        "bob.compressed.env.ratio-of-1000",
        lambda forge: _with_content(forge, entity(compressed(b"A" * 1_000_000)) + b"\r\n"),
        State.CHECKPOINTED,
    ),
    *(
        Message(
            number,
            f"bob.text.env.inner-fields-{number}",
            partial(_with_content, content=fields + b"\r\nplans\r\n"),
            State.CHECKPOINTED,
        )
        for number, fields in _INNER_FIELDS.items()
    ),
    Message(
        "B66",
        "bob.text.env.two-content-types",
        lambda forge: message(b"Content-Type: text/plain\r\n" + entity(forge.cbc())),
        State.CHECKPOINTED,
    ),
    *(
        Message(
            "B67",
            f"bob.text.env.same-message-id-{copy}",
            lambda forge: message(entity(forge.cbc()), b"Message-ID: <same@example.org>\r\n"),
            State.CHECKPOINTED,
        )
        for copy in range(50)
    ),
    Message(
        "B67",
        "bob.text.env.no-message-id",
        lambda forge: message(entity(forge.cbc(PAGE))),
        State.CHECKPOINTED,
    ),
    Message("B68", "nobody.nothing-at-all", lambda forge: b"", State.MALFORMED, "empty"),
    Message("B68", "nobody.header-only", lambda forge: OUTER, State.CLEAR),
    Message(
        "B68",
        "nobody.no-header",
        lambda forge: b"just some text\r\n\r\nand more\r\n",
        State.UNSUPPORTED,
        "header",
    ),
    Message(
        "B69", "nobody.pgp.inline", lambda forge: message(b"\r\n" + _PGP), State.UNSUPPORTED, "PGP"
    ),
    Message("B69", "nobody.text.decrypted-before", lambda forge: message(TEXT), State.CLEAR),
    Message("B71", "bob.zip.env", _of_zip, State.CHECKPOINTED),
    Message(
        "B72",
        "bob.text.env.no-header",
        lambda forge: _with_content(forge, b"Dear Bob,\r\n\r\nsee you.\r\n" * 5),
        State.REVIEW,
        "no MIME header",
    ),
    Message(
        "B72",
        "bob.text.authenv.no-header",
        lambda forge: _with_proven_content(forge, b"Dear Bob,\r\n\r\nsee you.\r\n" * 5),
        State.CHECKPOINTED,
    ),
)
