"""MIME entities and messages as bytes: letters, attachments, signatures, headers.

Nothing is left to an e-mail library, so that every odd line stands as it was meant.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from making.envelopes import run_openssl

OWNER = "Head Office <owner@example.org>"
PEOPLE = {
    "workshop": "Workshop <workshop@example.org>",
    "accounts": "Accounts <accounts@example.org>",
    "library": "Library desk <library@example.org>",
    "facilities": "Facilities <facilities@example.com>",
    "supplier": "Paper supplier <orders@paper.example.com>",
    "travel": "Travel desk <travel@example.com>",
    "announce": "Announcements <announce@lists.example.org>",
    "owner": OWNER,
}
SENTENCES = (
    "the delivery came in two parts and the second one was left at the side entrance.",
    "we have counted everything twice and the figures now agree with the list.",
    "the key for the cupboard in the corridor hangs where it always did.",
    "please look at the numbers on the second page before Thursday.",
    "the old lamp has been replaced and the new one uses a third of the power.",
    "nobody has asked for the room on Friday, so it is yours.",
    "the invoice carries the wrong cost centre; a corrected one is on its way.",
    "the roof is dry again and the scaffolding goes on Monday.",
    "two copies are enough, the third can go to the archive.",
    "the shelf marks have changed since the move, a new plan is on the wall.",
    "the train leaves at ten past seven and the tickets can be changed once.",
    "we would rather wait a week than order the wrong size again.",
    "the drawing shows the door on the left, but it opens to the right.",
    "the meter was read on the first of the month and the reading is plausible.",
    "the contract runs for another year unless one of us writes before autumn.",
    "there is still some paint left for the window frames.",
    "the sign-in sheet is at the desk, please add the visitors by hand.",
    "all of the chairs were found, most of them in the cellar.",
)


def crlf(text: str | bytes) -> bytes:
    """With CRLF at every line end, as S/MIME wants what it protects."""
    raw = text.encode() if isinstance(text, str) else text
    return raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def letter(subject: str, sentences: int = 4) -> str:
    """A few lines of an ordinary mail; the same subject gives the same lines."""
    chosen = random.Random(subject).sample(SENTENCES, sentences)
    lines = "\n".join(sentence[0].upper() + sentence[1:] for sentence in chosen)
    return f'Good morning,\n\nabout "{subject}":\n{lines}\n\nKind regards\n'


def text(subject: str, sentences: int = 4, charset: str = "utf-8") -> str:
    head = f"Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: 8bit\n"
    return f"{head}\n{letter(subject, sentences)}"


def quoted_text(subject: str) -> str:
    return (
        "Content-Type: text/plain; charset=iso-8859-1\n"
        "Content-Transfer-Encoding: quoted-printable\n\n"
        f"Gr=FC=DFe aus der Werkstatt,=20\n{letter(subject)}"
    )


def alternative(subject: str) -> str:
    plain = letter(subject)
    paragraphs = "".join(f"<p>{line}</p>\n" for line in plain.split("\n") if line)
    boundary = f"=_alt_{stable_name(subject)}"
    return (
        f'Content-Type: multipart/alternative;\n boundary="{boundary}"\n\n'
        f"--{boundary}\nContent-Type: text/plain; charset=us-ascii\n\n{plain}\n"
        f"--{boundary}\nContent-Type: text/html; charset=us-ascii\n\n"
        f"<html><body>\n{paragraphs}</body></html>\n\n--{boundary}--\n"
    )


def attachment(subject: str, name: str, size: int, kind: str = "application/octet-stream") -> str:
    content = base64.encodebytes(random.Random(name).randbytes(size)).decode()
    return mixed(
        subject,
        f'Content-Type: {kind}; name="{name}"\nContent-Transfer-Encoding: base64\n'
        f'Content-Disposition: attachment; filename="{name}"\n\n{content}',
    )


def mixed(subject: str, part: str) -> str:
    boundary = f"----=_Part_{stable_name(subject)}"
    return (
        f'Content-Type: multipart/mixed; boundary="{boundary}"\n\n'
        f"This is a message in several parts.\n--{boundary}\n{text(subject)}\n"
        f"--{boundary}\n{part}\n--{boundary}--\n"
    )


def binary_attachment(subject: str, name: str, size: int) -> bytes:
    """The attachment as it is, so that two megabytes stay two megabytes."""
    boundary = "=_two_megabytes_"
    head = (
        f'Content-Type: multipart/mixed; boundary="{boundary}"\n'
        f"Content-Transfer-Encoding: binary\n\n--{boundary}\n{text(subject)}\n--{boundary}\n"
        f'Content-Type: application/octet-stream; name="{name}"\n'
        "Content-Transfer-Encoding: binary\n"
        f'Content-Disposition: attachment; filename="{name}"\n\n'
    )
    content = random.Random(name).randbytes(size)
    return crlf(head) + content + f"\r\n--{boundary}--\r\n".encode()


def stable_name(subject: str) -> str:
    """A boundary that is the same whenever the script runs."""
    return f"{random.Random(subject).getrandbits(48):012x}"


# --- signatures ------------------------------------------------------------------


def clear_signed(entity: bytes, scratch: Path, signer: str, subject: str) -> bytes:
    """multipart/signed around ``entity``, which is signed exactly as given."""
    signature = run_openssl(
        "cms", "-sign", "-binary", "-md", "sha256", "-outform", "DER",
        "-signer", scratch / f"{signer}.pem", "-inkey", scratch / f"{signer}.key", data=entity,
    )  # fmt: skip
    content = scratch / "signed.content"
    content.write_bytes(entity)
    run_openssl(
        "cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-content", content,
        data=signature,
    )  # fmt: skip
    boundary = f"----{stable_name(subject).upper()}"
    head = (
        'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\n'
        f' micalg="sha-256"; boundary="{boundary}"\n\n'
        f"This is an S/MIME signed message\n\n--{boundary}\n"
    )
    tail = (
        f'\n--{boundary}\nContent-Type: application/pkcs7-signature; name="smime.p7s"\n'
        "Content-Transfer-Encoding: base64\n"
        'Content-Disposition: attachment; filename="smime.p7s"\n\n'
        f"{base64_lines(signature)}\n--{boundary}--\n"
    )
    return crlf(head) + entity + crlf(tail)


def signed_data(entity: bytes, scratch: Path, signer: str) -> bytes:
    """ContentInfo with a SignedData that holds ``entity``."""
    signed = run_openssl(
        "cms", "-sign", "-binary", "-nodetach", "-md", "sha256", "-outform", "DER",
        "-signer", scratch / f"{signer}.pem", "-inkey", scratch / f"{signer}.key", data=entity,
    )  # fmt: skip
    run_openssl("cms", "-verify", "-noverify", "-inform", "DER", "-binary", data=signed)
    return signed


def opaque_signed(entity: bytes, scratch: Path, signer: str) -> bytes:
    head = (
        'Content-Type: application/pkcs7-mime; smime-type=signed-data; name="smime.p7m"\n'
        "Content-Transfer-Encoding: base64\n"
        'Content-Disposition: attachment; filename="smime.p7m"\n\n'
    )
    return crlf(head + base64_lines(signed_data(entity, scratch, signer)))


# --- messages --------------------------------------------------------------------


def base64_lines(content: bytes, width: int = 64) -> str:
    encoded = base64.b64encode(content).decode()
    lines = (encoded[at : at + width] for at in range(0, len(encoded), width))
    return "".join(f"{line}\n" for line in lines)


def mime_fields(
    media_type: str = "application/pkcs7-mime",
    smime_type: str = "enveloped-data",
    name: str = "smime.p7m",
    encoding: str = "base64",
) -> list[str]:
    """The Content-* fields of an encrypted message; an empty argument leaves its part out."""
    smime = f" smime-type={smime_type};" if smime_type else ""
    return [
        f'Content-Type: {media_type};{smime} name="{name}"',
        f"Content-Transfer-Encoding: {encoding}",
        f'Content-Disposition: attachment; filename="{name}"',
    ]


def header(
    sender: str,
    subject: str,
    received: datetime,
    *,
    to: str = "owner",
    message_id: str = "",
    extra: Sequence[str] = (),
) -> list[str]:
    """Header fields as a mail server leaves them; own mail has passed none.

    Args:
        received: the internal date; the mail was written some seconds before.
    """
    written = received - timedelta(seconds=random.Random(subject).randrange(1, 40))
    identifier = message_id or f"<{stable_name(subject)}@mail.example.org>"
    address = PEOPLE[sender].rpartition("<")[2].rstrip(">")
    domain = address.rpartition("@")[2]
    route = [
        f"Return-Path: <{address}>",
        "\n\t".join(
            [
                f"Received: from mx.{domain} (mx.{domain} [192.0.2.25])",
                f"by mail.example.org with ESMTPS id {stable_name(subject)[:8].upper()}",
                f"for <owner@example.org>; {format_datetime(received)}",
            ]
        ),
    ]
    return [
        *(route if sender != "owner" else []),
        f"From: {PEOPLE[sender]}",
        f"To: {PEOPLE[to]}",
        f"Subject: {subject}",
        f"Date: {format_datetime(written)}",
        f"Message-ID: {identifier}",
        *extra,
    ]


def joined(fields: Sequence[str | bytes], body: str | bytes) -> bytes:
    """A message with LF line ends from its fields, in this order, and its body."""
    lines = [field.encode() if isinstance(field, str) else field for field in fields]
    raw = body.encode() if isinstance(body, str) else body
    return b"".join(line + b"\n" for line in lines) + b"\n" + raw


def around(fields: Sequence[str | bytes], entity: bytes) -> bytes:
    """A message whose Content-* fields and body are those of ``entity``, with LF line ends."""
    lines = [field.encode() if isinstance(field, str) else field for field in fields]
    head = b"".join(line + b"\n" for line in [*lines, b"MIME-Version: 1.0"])
    return head + entity.replace(b"\r\n", b"\n")
