"""Encrypted mail in ordinary clothes: algorithms, key transport, recipients, layers."""

from __future__ import annotations

from making.entities import (
    alternative,
    attachment,
    binary_attachment,
    clear_signed,
    crlf,
    mime_fields,
    opaque_signed,
    quoted_text,
    signed_data,
    text,
)
from making.envelopes import ID_SIGNED_DATA
from making.story import Place, Story

FORWARDED, PROJECT = "$Forwarded", "projekt"
OLD, YEAR_2014, MOVE = "Archive/2008", "Archive/2014", "Projekt Umzug"

# fmt: off
# A message is a short paragraph here; one argument to a line would hide the mailbox.

def to_the_first_key(story: Story) -> None:
    make, put = story.mint, story.sealed
    key = "owner-2005"
    put(Place("2006-03-14T10:00:00+01:00", OLD), "accounts", "First encrypted mail",
        make.by_openssl(crlf(text("First encrypted mail")), key, algorithm="des-ede3-cbc"),
        "3DES to the oldest key, 1024 bits")
    put(Place("2007-01-22T12:34:56+01:00", OLD, "seen answered"), "workshop", "Order of timber",
        make.by_hand(crlf(quoted_text("Order of timber")), key, algorithm="des-ede3-cbc"),
        "3DES to the oldest key, quoted-printable inside")
    put(Place("2007-10-02T19:20:21+02:00", OLD, "seen flagged", sizes="SW"), "library",
        "Loan of maps", make.by_openssl(crlf(alternative("Loan of maps")), key,
                                        algorithm="des-ede3-cbc", stream=True),
        "3DES, BER as it is streamed, W= in the file name")
    put(Place("2008-07-11T08:09:10+02:00", OLD, sizes=""), "accounts", "Budget",
        make.by_builder(crlf(attachment("Budget", "budget.xls", 3000,
                                        "application/vnd.ms-excel")), key),
        "an attachment to the oldest key, no size in the file name")
    put(Place("2009-01-30T16:00:01+01:00", OLD, "seen answered flagged"), "owner",
        "To both of my keys", make.by_openssl(crlf(text("To both of my keys")), key, "owner-2008",
                                              algorithm="aes-128-cbc"),
        "the week of the new key: two recipients, both the owner's", to="owner")


def to_the_second_key(story: Story) -> None:
    make, put = story.mint, story.sealed
    key = "owner-2008"
    put(Place("2010-02-17T09:15:00+01:00"), "workshop", "Drawings",
        make.by_openssl(crlf(attachment("Drawings", "drawing.dwg", 5000)), key,
                        algorithm="aes-128-cbc"), "an attachment, AES-128")
    put(Place("2010-05-25T17:31:00+02:00", flags="seen answered"), "accounts", "Salaries",
        make.by_openssl(crlf(text("Salaries")), key, "accounts", algorithm="aes-192-cbc"),
        "AES-192, two recipients")
    put(Place("2010-11-11T11:11:11+01:00", flags="seen", keywords=[PROJECT]), "library",
        "Catalogue cards", make.by_hand(crlf(text("Catalogue cards")), key, keyid=True,
                                        algorithm="aes-192-cbc"),
        "AES-192, subject key identifier, keyword projekt")
    put(Place("2011-03-08T07:00:00+01:00", "Sent"), "owner", "Re: Drawings",
        make.by_openssl(crlf(text("Re: Drawings")), "workshop", key, algorithm="aes-256-cbc"),
        "sent mail: the owner is the second recipient")
    put(Place("2011-08-19T13:13:13+02:00", flags="", sizes="W"), "workshop", "Broken saw",
        make.by_builder(crlf(text("Broken saw")), key), "unseen, W= without S=")
    put(Place("2011-10-20T21:00:00+02:00"), "accounts", "Written without -binary",
        make.by_openssl(text("Written without -binary").encode(), key, binary=False),
        "openssl turned the line ends into CRLF before it encrypted")


def by_the_command(story: Story) -> None:
    make, put = story.mint, story.sealed
    key = "owner-2011"
    put(Place("2012-03-04T05:06:07+01:00", flags="seen flagged"), "workshop", "Spare parts",
        make.by_openssl(crlf(text("Spare parts")), key), "AES-256, the ordinary case")
    put(Place("2012-09-13T10:20:30+02:00"), "facilities", "Meter readings",
        make.by_openssl(crlf(attachment("Meter readings", "meters.csv", 9000, "text/csv")), key,
                        stream=True), "BER in several pieces")
    put(Place("2013-02-01T08:00:00+01:00", flags="answered flagged"), "library", "Rare prints",
        make.by_openssl(crlf(text("Rare prints")), key, oaep="sha1"), "OAEP with SHA-1")
    put(Place("2013-11-27T15:45:00+01:00", keywords=[FORWARDED]), "accounts", "Audit",
        make.by_openssl(crlf(text("Audit")), key, oaep="sha256"),
        "OAEP with SHA-256, keyword $Forwarded")
    put(Place("2014-01-07T09:30:00+01:00", YEAR_2014), "workshop", "New year, new tools",
        make.by_openssl(crlf(text("New year, new tools")), key, keyid=True),
        "subject key identifier")
    put(Place("2014-05-15T12:12:12+02:00", YEAR_2014, "seen answered",
              keywords=[FORWARDED, PROJECT]), "accounts", "Quarterly figures",
        make.by_openssl(crlf(alternative("Quarterly figures")), key, "accounts", "workshop"),
        "three recipients, two keywords", "three-recipients")
    put(Place("2014-10-31T23:30:00+01:00", YEAR_2014, sizes="SW"), "library", "Inventory",
        make.by_openssl(crlf(text("Inventory")), key, stream=True, keyid=True, oaep="sha256"),
        "BER, subject key identifier and OAEP with SHA-256")
    put(Place("2018-09-18T10:00:00+02:00", "Büro & Lager"), "facilities", "Access codes",
        make.by_openssl(crlf(text("Access codes")), key, algorithm="aes-256-gcm"),
        "AuthEnvelopedData", mime=_authenticated())
    put(Place("2020-12-01T07:45:00+01:00", flags=""), "workshop", "Machine hall",
        make.by_openssl(crlf(text("Machine hall")), key, algorithm="aes-128-gcm", oaep="sha256",
                        stream=True),
        "AuthEnvelopedData in BER, OAEP", mime=_authenticated())
    put(Place("2022-11-05T18:00:00+01:00"), "facilities", "To the two of you",
        make.by_openssl(crlf(text("To the two of you")), "stranger", key),
        "to a stranger first, and to the owner", "stranger-and-owner")


def _authenticated() -> list[str]:
    return mime_fields(smime_type="authEnveloped-data")


def in_python(story: Story) -> None:
    make, put = story.mint, story.sealed
    key = "owner-2011"
    put(Place("2012-12-12T12:12:12+01:00"), "travel", "Itinerary",
        make.by_builder(crlf(alternative("Itinerary")), key, algorithm="aes-256-cbc"),
        "text and HTML, from a library's builder")
    put(Place("2013-05-28T04:00:00-07:00", flags="flagged"), "supplier", "Offer",
        make.by_builder(crlf(text("Offer")), key, "accounts", algorithm="aes-256-cbc"),
        "two recipients, from a library's builder")
    put(Place("2015-01-13T08:00:00+01:00"), "accounts", "Balance",
        make.by_hand(crlf(text("Balance")), key, oaep="sha1", algorithm="des-ede3-cbc"),
        "3DES under OAEP with SHA-1")
    put(Place("2015-12-10T20:00:00+01:00", flags="answered"), "library", "Closing days",
        make.by_hand(crlf(text("Closing days")), key, oaep="sha256", algorithm="aes-128-cbc"),
        "OAEP with SHA-256, parameters written in full")
    put(Place("2016-06-21T14:30:00+05:30", keywords=[PROJECT], folder=MOVE), "facilities",
        "Boxes and labels", make.by_hand(crlf(text("Boxes and labels", 9)), key, ber_chunk=100),
        "BER in pieces of 100 octets, no multiple of the block")
    put(Place("2017-03-03T03:03:03+00:00"), "workshop", "Stranger among us",
        make.by_hand(crlf(text("Stranger among us")), "stranger", key, "workshop", keyid=True),
        "three recipients by subject key identifier, one a stranger", "stranger-and-owner",
        "three-recipients")
    put(Place("2019-05-09T11:00:00+02:00"), "accounts", "Tax certificate",
        make.by_hand(crlf(attachment("Tax certificate", "tax.pdf", 6000, "application/pdf")), key,
                     algorithm="aes-192-gcm", oaep="sha256"),
        "AES-192-GCM", mime=_authenticated())
    put(Place("2021-09-27T08:15:00+02:00", flags="seen flagged"), "travel", "Booking",
        make.by_hand(crlf(text("Booking")), key, algorithm="aes-256-gcm",
                     tag_length_written=False),
        "AES-GCM as Exchange writes it: tag of 16 octets, aes-ICVlen left out",
        "gcm-length-left-out", mime=_authenticated())
    put(Place("2022-02-22T22:22:00+01:00"), "library", "Signature list",
        make.by_hand(crlf(text("Signature list")), key, algorithm="aes-128-gcm",
                     tag_length_written=False, tag_bytes=12),
        "AES-GCM with the default tag of 12 octets, aes-ICVlen left out",
        "gcm-length-left-out", mime=_authenticated())
    put(Place("2024-02-29T12:00:00+01:00"), "announce", "Short tag",
        make.by_hand(crlf(text("Short tag")), key, algorithm="aes-256-gcm", tag_bytes=12),
        "AES-GCM with a tag of 12 octets, written in aes-ICVlen", mime=_authenticated())


def signed_within(story: Story) -> None:
    make, put, scratch = story.mint, story.sealed, story.mint.scratch
    clear, opaque = "signed-then-encrypted-clear", "signed-then-encrypted-opaque"
    rows = [
        ("2010-07-01T09:00:00+02:00", "owner-2008", "workshop", "Acceptance protocol", clear),
        ("2013-04-18T10:10:00+02:00", "owner-2011", "accounts", "Approved expenses", clear),
        ("2016-01-26T11:20:00+01:00", "owner-2011", "library", "Deed of gift", opaque),
        ("2020-08-13T12:30:00+02:00", "owner-2011", "facilities", "Contract for the lift", clear),
        ("2023-06-15T13:40:00+02:00", "owner-2011", "accounts", "Statement of account", opaque),
    ]
    for number, (when, key, sender, subject, kind) in enumerate(rows):
        entity = crlf(text(subject, charset="us-ascii"))
        if kind == clear:
            inner = clear_signed(entity, scratch, sender, subject)
        else:
            inner = opaque_signed(entity, scratch, sender)
        envelope = make.by_hand(inner, key) if number % 2 else make.by_openssl(inner, key)
        put(Place(when, flags=["seen", "seen answered", ""][number % 3]), sender, subject, envelope,
            f"{'clear' if kind == clear else 'opaque'}-signed, then encrypted", kind)
    entity = crlf(text("Signed without a wrapper", charset="us-ascii"))
    # RFC 5652 section 5: the content is the SignedData itself, without its ContentInfo.
    content = signed_data_value(signed_data(entity, scratch, "workshop"))
    put(Place("2017-07-19T16:00:00+02:00"), "workshop", "Signed without a wrapper",
        make.by_hand(content, "owner-2011", content_type=ID_SIGNED_DATA),
        "SignedData stands directly in the EnvelopedData, no MIME between")


def signed_data_value(content_info: bytes) -> bytes:
    """The SignedData of a ContentInfo in DER whose lengths take two octets each."""
    if content_info[:2] != b"\x30\x82" or content_info[15:17] != b"\xa0\x82":
        raise ValueError("not the ContentInfo that was expected")
    return content_info[19:]


def large(story: Story) -> None:
    subject = "Scan of the floor plan"
    inner = binary_attachment(subject, "floor-plan.tif", 2 * 1024 * 1024)
    envelope = story.mint.by_openssl(inner, "owner-2011", oaep="sha256", stream=True)
    story.sealed(Place("2016-06-23T09:00:00+02:00", MOVE, "seen flagged", [PROJECT]), "facilities",
                 subject, envelope, "an attachment of two megabytes, binary inside", "large",
                 width=76)
