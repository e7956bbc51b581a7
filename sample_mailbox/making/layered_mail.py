"""Mail in layers: envelopes within envelopes, under signatures and beside other parts."""

from __future__ import annotations

from making.entities import (
    around,
    base64_lines,
    clear_signed,
    crlf,
    header,
    joined,
    letter,
    mime_fields,
    mixed,
    opaque_signed,
    text,
)
from making.envelopes import Envelope
from making.story import READABLE, Place, Story

KEY = "owner-2011"
SIGNER = "owner-2011"
"""The owner signs, too."""


def within_an_envelope(story: Story) -> None:
    put, make, scratch = story.sealed, story.mint, story.mint.scratch
    put(
        Place("2025-11-03T09:00:00+01:00"),
        "library",
        "Twice wrapped",
        make.by_openssl(_entity(_ordinary(story, "Twice wrapped")), KEY),
        "an envelope within the envelope",
        "envelope-in-envelope",
        "resealed",
    )
    when = Place("2025-11-05T09:00:00+01:00", flags="seen answered")
    fields = [*header("workshop", "Old quotation", when.received), "MIME-Version: 1.0"]
    old = joined([*fields, *mime_fields()], base64_lines(_ordinary(story, "Old quotation").cms))
    forward = mixed("Fwd: Old quotation", f"Content-Type: message/rfc822\n\n{old.decode()}")
    put(
        when,
        "facilities",
        "Fwd: Old quotation",
        make.by_openssl(crlf(forward), KEY),
        "an encrypted mail, forwarded and encrypted again",
        "nested-in-envelope",
        "resealed",
    )
    entity = _entity(_ordinary(story, "Three layers"))
    put(
        Place("2025-11-07T09:00:00+01:00", "Sent"),
        "owner",
        "Three layers",
        make.by_openssl(clear_signed(entity, scratch, SIGNER, "Three layers"), KEY),
        "encrypted, signed and encrypted again: the inner layer stays as it is",
        "triple-wrap",
        "needs-old-keys",
    )


def under_a_signature(story: Story) -> None:
    when = Place("2025-11-10T09:00:00+01:00", "Sent")
    entity = _entity(_ordinary(story, "Under seal"))
    signed = opaque_signed(entity, story.mint.scratch, SIGNER)
    story.put(
        when,
        around(header("owner", "Under seal", when.received, to="workshop"), signed),
        "an encrypted layer within an opaque signature",
        "sealed-opaque",
        "needs-old-keys",
        states=("under-signature", "under-signature"),
    )


def beside_a_footer(story: Story) -> None:
    when, subject = Place("2025-11-12T09:00:00+01:00", flags=""), "To the list"
    envelope = _ordinary(story, subject)
    part = joined(mime_fields(), base64_lines(envelope.cms)).decode()
    entity = (
        f'Content-Type: multipart/mixed; boundary="=_footer_"\n\n--=_footer_\n{part}\n'
        "--=_footer_\nContent-Type: text/plain; charset=us-ascii\nContent-Disposition: inline\n\n"
        "_____\nTo leave this list, write to leave@lists.example.org\n--=_footer_--\n"
    )
    fields = header(
        "announce",
        subject,
        when.received,
        extra=["List-Id: Announcements <announce.lists.example.org>"],
    )
    story.put(
        when,
        around(fields, entity.encode()),
        "a list added its footer to an encrypted mail",
        "list-footer",
        envelope=envelope,
    )


def marks(story: Story) -> None:
    put, make, scratch = story.sealed, story.mint, story.mint.scratch
    subject = "Signed by another"
    signed = clear_signed(crlf(text(subject, charset="us-ascii")), scratch, SIGNER, subject)
    put(
        Place("2025-11-14T09:00:00+01:00"),
        "workshop",
        subject,
        make.by_openssl(signed, KEY),
        "the signature within is not of whom the mail is from",
        "signed-unmatched",
    )
    protected = (
        'Content-Type: text/plain; charset=us-ascii; protected-headers="v1"\n'
        f"Subject: Kept within\n\n{letter('Kept within')}"
    )
    put(
        Place("2025-11-17T09:00:00+01:00"),
        "supplier",
        "...",
        make.by_openssl(crlf(protected), KEY),
        "the real subject stands within, as drafts had it",
        "protected-header",
        states=READABLE,
    )


def _ordinary(story: Story, subject: str) -> Envelope:
    return story.mint.by_openssl(crlf(text(subject)), KEY)


def _entity(envelope: Envelope) -> bytes:
    return crlf(joined(mime_fields(), base64_lines(envelope.cms)))
