"""B01 to B20: what is wrong with the structure of a CMS envelope."""

from __future__ import annotations

from functools import partial

from sectool.asn1 import der
from sectool.cms import oids
from sectool.errors import (
    DecryptionFailed,
    LimitExceeded,
    MalformedMessage,
    MissingKey,
    UnsupportedMessage,
)
from sectool.outcome import State
from tests.bad_inputs.encoding import ATTRIBUTE_ONE, encrypted_content, indefinite, segments
from tests.bad_inputs.people import Forger
from tests.bad_inputs.vector import CONTENT, OPENS, Envelope

UNKNOWN_RECIPIENT = der.element(0xA9, der.integer(0))
KEK_RECIPIENT = der.element(
    0xA2,
    der.integer(4)
    + der.sequence(der.octet_string(b"list"))
    + der.sequence(der.oid("2.16.840.1.101.3.4.1.45"))
    + der.octet_string(bytes(40)),
)
PASSWORD_RECIPIENT = der.element(
    0xA3,
    der.integer(0)
    + der.sequence(der.oid("1.2.840.113549.1.9.16.3.9"))
    + der.octet_string(bytes(48)),
)
OTHER_RECIPIENT = der.element(0xA4, der.oid("1.2.3.4") + der.sequence(der.integer(1)))


def _definite_nest(depth: int) -> bytes:
    headers: list[bytes] = []
    length = 0
    for _ in range(depth):
        headers.append(der.header(0x24, length))
        length += len(headers[-1])
    return b"".join(reversed(headers))


def _indefinite_throughout(forge: Forger, field: bytes) -> bytes:
    algorithm = der.sequence(der.oid(oids.AES_256_CBC), der.octet_string(bytes(range(100, 116))))
    content_info = indefinite(0x30, der.oid(oids.ID_DATA), algorithm, field)
    recipient_infos = indefinite(0x31, forge.recipient())
    envelope = indefinite(0x30, der.integer(0), recipient_infos, content_info)
    return indefinite(0x30, der.oid(oids.ENVELOPED_DATA), indefinite(0xA0, envelope))


def _key_agreement(forge: Forger) -> bytes:
    identifier = forge.person.recipient.identifier
    encrypted_key = der.sequence(
        der.sequence(identifier.issuer, der.integer(identifier.serial_number)),
        der.octet_string(bytes(40)),
    )
    return der.element(
        0xA1,
        der.integer(3)
        + der.explicit(0, der.explicit(1, b""))
        + der.sequence(der.oid("1.3.132.1.11.1"))
        + der.sequence(encrypted_key),
    )


def _to_others(forge: Forger, count: int) -> bytes:
    """With that many recipients who are not Bob before him."""
    other = Forger(forge.stranger, forge.twin, forge.curve, forge.stranger).recipient()
    return forge.cbc(recipients=[*[other] * count, forge.recipient()])


def _long_lengths(forge: Forger) -> bytes:
    """The two outer lengths in eight octets each."""
    raw = forge.cbc()
    explicit = raw.index(b"\xa0")
    inside = raw[explicit + 4 :]
    content = b"\xa0\x88" + len(inside).to_bytes(8, "big") + inside
    content = raw[4:explicit] + content
    return b"\x30\x88" + len(content).to_bytes(8, "big") + content


def _cut(forge: Forger, *, size: int) -> bytes:
    raw = forge.cbc(LONG_CONTENT)
    assert len(raw) > size
    return raw[:size]


def _with_length(forge: Forger, *, length: bytes) -> bytes:
    """Encrypted content that says it is so long."""
    return forge.cbc(field=b"\x80" + length + encrypted_content(forge))


def _called_signed(forge: Forger) -> bytes:
    """The encrypted content is said to be a SignedData, and is text."""
    return _replaced(forge.cbc(), der.oid(oids.ID_DATA), der.oid(oids.SIGNED_DATA))


def _replaced(raw: bytes, old: bytes, new: bytes) -> bytes:
    assert raw.count(old) == 1
    assert len(old) == len(new)
    return raw.replace(old, new)


LONG_CONTENT = CONTENT * 100

STRUCTURE = (
    Envelope("", "bob.env.aes-256-cbc", lambda forge: forge.cbc(), OPENS),
    Envelope("", "bob.authenv.aes-256-gcm", lambda forge: forge.gcm(), OPENS),
    Envelope(
        "",
        "bob.env.rsa-without-parameters",
        lambda forge: forge.cbc(
            recipients=[forge.recipient(algorithm=der.sequence(der.oid(oids.RSA_ENCRYPTION)))]
        ),
        OPENS,
    ),
    Envelope(
        "",
        "bob.env.subject-key-identifier",
        lambda forge: forge.cbc(
            recipients=[forge.recipient(identifier=forge.person.subject_key_identifier)]
        ),
        OPENS,
    ),
    Envelope(
        "",
        "bob.env.rsa-with-parameters",
        lambda forge: forge.cbc(
            recipients=[
                forge.recipient(
                    algorithm=der.sequence(der.oid(oids.RSA_ENCRYPTION), der.sequence())
                )
            ]
        ),
        MalformedMessage,
    ),
    Envelope("B01", "nobody.nothing", lambda forge: b"", MalformedMessage),
    Envelope("B03", "bob.env.last-byte", lambda forge: forge.cbc()[:-1], MalformedMessage),
    Envelope("B04", "bob.env.trailing-bytes", lambda forge: forge.cbc() + b"\r\n\0garbage", OPENS),
    Envelope(
        "B05",
        "bob.env.segments",
        lambda forge: forge.cbc(field=indefinite(0xA0, *segments(encrypted_content(forge), 7))),
        OPENS,
    ),
    Envelope(
        "B05",
        "bob.env.nested-segments",
        lambda forge: forge.cbc(
            field=indefinite(
                0xA0,
                indefinite(0x24, *segments(encrypted_content(forge)[:30], 8)),
                der.element(0x24, b"".join(segments(encrypted_content(forge)[30:], 11))),
            )
        ),
        OPENS,
    ),
    Envelope(
        "B05",
        "bob.env.indefinite-throughout",
        lambda forge: _indefinite_throughout(
            forge, indefinite(0xA0, *segments(encrypted_content(forge), 16))
        ),
        OPENS,
    ),
    Envelope(
        "B05",
        "bob.env.indefinite-around-primitive-content",
        lambda forge: _indefinite_throughout(forge, der.element(0x80, encrypted_content(forge))),
        OPENS,
    ),
    Envelope(
        "B06",
        "bob.env.indefinite-10k-deep",
        lambda forge: forge.cbc(field=indefinite(0xA0, b"\x24\x80" * 10_000 + bytes(20_000))),
        LimitExceeded,
    ),
    Envelope(
        "B07",
        "bob.env.definite-10k-deep",
        lambda forge: forge.cbc(field=der.element(0xA0, _definite_nest(10_000))),
        LimitExceeded,
    ),
    Envelope(
        "B08",
        "bob.env.content-of-2^62",
        lambda forge: forge.cbc(field=indefinite(0xA0, der.header(4, 2**62))),
        MalformedMessage,
    ),
    Envelope(
        "B10", "bob.env.no-recipients", lambda forge: forge.cbc(recipients=[]), MalformedMessage
    ),
    Envelope(
        "B11",
        "bob.env.too-many-of-mine",
        lambda forge: forge.cbc(recipients=[forge.recipient()] * 10_000),
        OPENS,
        effort=60,
    ),
    Envelope(
        "B12",
        "bob.env.garbage-recipient-first",
        lambda forge: forge.cbc(
            recipients=[forge.recipient(encrypted_key=bytes(256)), forge.recipient()]
        ),
        OPENS,
    ),
    Envelope(
        "B12",
        "bob.env.wrong-key-size-first",
        lambda forge: forge.cbc(recipients=[forge.recipient(key=bytes(16)), forge.recipient()]),
        OPENS,
    ),
    Envelope(
        "B12",
        "bob.env.twice-the-same",
        lambda forge: forge.cbc(recipients=[forge.recipient()] * 2),
        OPENS,
    ),
    Envelope(
        "B13",
        "bob.env.probe-second",
        lambda forge: forge.cbc(
            recipients=[forge.recipient(), forge.recipient(encrypted_key=b"\xff" * 256)]
        ),
        OPENS,
    ),
    Envelope(
        "B13",
        "bob.env.only-probes",
        lambda forge: forge.cbc(recipients=[forge.recipient(key=bytes(31))]),
        DecryptionFailed,
    ),
    Envelope(
        "B14",
        "bob.env.other-kinds",
        lambda forge: forge.cbc(
            recipients=[
                UNKNOWN_RECIPIENT,
                KEK_RECIPIENT,
                PASSWORD_RECIPIENT,
                OTHER_RECIPIENT,
                forge.recipient(),
            ]
        ),
        OPENS,
    ),
    Envelope(
        "B14",
        "bob.env.only-other-kinds",
        lambda forge: forge.cbc(recipients=[KEK_RECIPIENT, UNKNOWN_RECIPIENT]),
        MissingKey,
    ),
    Envelope(
        "B14",
        "bob.env.only-kinds-that-no-key-could-serve",
        lambda forge: forge.cbc(recipients=[OTHER_RECIPIENT, UNKNOWN_RECIPIENT]),
        UnsupportedMessage,
    ),
    Envelope(
        "B14",
        "bob.env.key-agreement-of-mine",
        lambda forge: forge.cbc(recipients=[_key_agreement(forge)]),
        MalformedMessage,
    ),
    Envelope("B15", "bob.env.version", lambda forge: forge.cbc(version=77), OPENS),
    Envelope(
        "B16",
        "bob.env.signed-inside-enveloped-label",
        lambda forge: forge.cbc(content_type=oids.SIGNED_DATA),
        MalformedMessage,
    ),
    Envelope(
        "B16",
        "bob.env.enveloped-with-a-set-inside",
        lambda forge: der.sequence(
            der.oid(oids.ENVELOPED_DATA), der.explicit(0, der.set_of([der.integer(0)]))
        ),
        MalformedMessage,
    ),
    Envelope("B17", "bob.env.detached", lambda forge: forge.cbc(field=b""), MalformedMessage),
    Envelope("B18", "bob.env.empty", lambda forge: forge.cbc(encrypted=b""), MalformedMessage),
    Envelope(
        "B18",
        "bob.env.empty-segments",
        lambda forge: forge.cbc(field=indefinite(0xA0, der.octet_string(b""))),
        MalformedMessage,
    ),
    Envelope(
        "B19",
        "bob.env.attributes",
        lambda forge: forge.cbc(after=der.element(0xA1, ATTRIBUTE_ONE * 20_000)),
        OPENS,
    ),
    Envelope(
        "B20",
        "bob.env.originator",
        lambda forge: forge.cbc(
            before=der.element(0xA0, der.element(0xA0, der.sequence(bytes(5_000_000))))
        ),
        OPENS,
    ),
    *(
        Envelope(
            "B02",
            f"bob.env.cut-after-{size}-kilobytes",
            partial(_cut, size=1024 * size),
            MalformedMessage,
        )
        for size in range(1, 7)
    ),
    Envelope("B09", "bob.env.lengths-in-eight-octets", _long_lengths, OPENS),
    *(
        Envelope(
            "B08",
            f"bob.env.length-of-{name}",
            partial(_with_length, length=length),
            LimitExceeded,
        )
        for name, length in (
            ("2^63", b"\x88\x80" + bytes(7)),
            ("5.8e76", b"\xa0" + b"\x80" * 32),
        )
    ),
    Envelope(
        "B08",
        "bob.env.length-of-2^31-1",
        partial(_with_length, length=b"\x84\x7f\xff\xff\xff"),
        MalformedMessage,
    ),
    Envelope(
        "B11", "bob.env.9999-others-first", partial(_to_others, count=9_999), OPENS, effort=60
    ),
    Envelope(
        "B11",
        "bob.env.20000-others-first",
        partial(_to_others, count=20_000),
        OPENS,
        effort=100,
    ),
    Envelope("B16", "bob.env.text-called-signed", _called_signed, OPENS, state=State.REVIEW),
    Envelope("B18", "bob.authenv.empty", lambda forge: forge.gcm(b""), OPENS, b""),
)
