"""Encrypted mail in the clothes that real programs put it in, and mail that asks for care."""

from __future__ import annotations

from dataclasses import replace

from making.entities import (
    OWNER,
    alternative,
    around,
    attachment,
    base64_lines,
    clear_signed,
    crlf,
    header,
    joined,
    letter,
    mime_fields,
    mixed,
    stable_name,
    text,
)
from making.envelopes import Envelope
from making.story import READABLE, Place, Story

KEY = "owner-2011"

# fmt: off
# A message is a short paragraph here; one argument to a line would hide the mailbox.

def _ordinary(story: Story, subject: str, number: int) -> Envelope:
    """Turns by number between the command and the hand, since the clothes are what matters."""
    inner = crlf(text(subject))
    return story.mint.by_hand(inner, KEY) if number % 2 else story.mint.by_openssl(inner, KEY)


def odd_header_fields(story: Story) -> None:
    put = story.sealed
    place = Place("2012-01-09T08:00:00+01:00")
    fields: list[str | bytes] = [*header("library", "Pruefbericht", place.received)]
    fields = [b"Subject: Pr\xfcfbericht f\xfcr die B\xfccherei" if str(field).startswith("Subject")
              else field for field in fields]
    put(place, "library", "", _ordinary(story, "Pruefbericht", 0), "Latin-1 in the subject",
        "8-bit-header", fields=[*fields, "MIME-Version: 1.0"])
    place = Place("2019-02-11T09:00:00+01:00", flags="answered")
    put(place, "workshop", "Schlüssel für das Tor — bitte abholen",
        _ordinary(story, "Schluessel", 1), "UTF-8 in the subject, not encoded",
        "8-bit-header")
    place = Place("2013-08-05T10:00:00+02:00")
    lower = [
        f"{name.lower()}:\t{value.lstrip()}"
        for name, _, value in (
            field.partition(":") for field in header("accounts", "Lower case", place.received)
        )
    ]
    put(place, "accounts", "", _ordinary(story, "Lower case", 0),
        "field names in lower case, a tab after each colon", "odd-header",
        fields=[*lower, "mime-version:\t1.0"],
        mime=[field.replace("Content-", "content-", 1).replace(": ", ":\t", 1)
              for field in mime_fields()])
    place = Place("2017-05-17T17:17:00+02:00")
    thread = "\n ".join(f"<{stable_name(str(number))}.{number}@thread.example.com>"
                        for number in range(60))
    put(place, "facilities", "Re: Re: Re: Coffee machine", _ordinary(story, "Coffee machine", 1),
        "References of sixty folded lines", "odd-header",
        extra=[f"References: {thread}", f"In-Reply-To:\n\t{thread.split()[-1]}"])
    place = Place("2014-12-03T06:00:00+01:00", "Archive/2014")
    usual = header("travel", "Three servers on the way", place.received)
    put(place, "travel", "", _ordinary(story, "Three servers", 0),
        "Received three times, twice the same; no space after the colon of the subject",
        "odd-header", "duplicated-received",
        fields=[usual[0], usual[1], usual[1], usual[1].replace("mail.example.org", "hub"),
                *usual[2:4], "Subject:Three servers on the way", *usual[5:],
                "MIME-Version: 1.0"])
    place = Place("2020-10-10T10:10:00+02:00")
    put(place, "workshop", "Fields in between", _ordinary(story, "Fields in between", 1),
        "X- fields between the Content- fields, and Content-Language after them", "odd-header",
        mime=[item for pair in zip(mime_fields(), ["X-Scanned: yes", "X-Spam-Score:  -1.0",
                                                   "Content-Language: en-GB"], strict=True)
              for item in pair])
    place = Place("2018-04-24T14:00:00+02:00")
    put(place, "accounts", "", _ordinary(story, "Content first", 0),
        "Content- fields before all others, with Content-Description and Content-ID",
        "odd-header", "content-fields-first",
        fields=[*mime_fields(), "Content-Description: S/MIME Encrypted Message",
                "Content-ID: <part1@mail.example.org>",
                *header("accounts", "Content first", place.received), "MIME-Version: 1.0"],
        mime=[])


def missing_fields(story: Story) -> None:
    put = story.sealed
    for when, gone, covers in [
        ("2015-06-30T12:00:00+02:00", "Message-ID", ["no-message-id"]),
        ("2021-03-31T08:00:00+02:00", "Message-ID", ["no-message-id"]),
        ("2016-09-05T07:30:00+02:00", "Date", ["no-date"]),
        ("2023-01-16T10:00:00+01:00", "MIME-Version", ["no-mime-version"]),
    ]:
        place = Place(when, flags="seen" if gone != "Date" else "")
        subject = f"Without {gone} of {when[:4]}"
        fields = [*header("library", subject, place.received), "MIME-Version: 1.0"]
        put(place, "library", "", _ordinary(story, subject, len(gone)), f"no {gone} field", *covers,
            fields=[field for field in fields if not field.startswith(f"{gone}:")])


def odd_labels(story: Story) -> None:
    rows = [
        ("2012-10-30T09:00:00+01:00", "x-pkcs7-mime", {"media_type": "application/x-pkcs7-mime"}),
        ("2019-10-22T09:00:00+02:00", "octet-stream",
         {"media_type": "application/octet-stream", "smime_type": ""}),
        ("2014-06-12T09:00:00+02:00", "no-smime-type", {"smime_type": ""}),
        ("2017-12-18T09:00:00+01:00", "wrong-smime-type", {"smime_type": "signed-data"}),
        ("2021-11-15T09:00:00+01:00", "x-pkcs7-mime",
         {"media_type": "application/x-pkcs7-mime", "smime_type": ""}),
    ]
    for number, (when, label, arguments) in enumerate(rows):
        subject = f"Labelled {label} in {when[:4]}"
        story.sealed(Place(when, flags="seen" if number else "flagged"), "workshop", subject,
                     _ordinary(story, subject, number), f"label: {label}", label,
                     mime=mime_fields(**arguments))
    put = story.sealed
    put(Place("2022-08-08T08:08:08+02:00"), "accounts", "Folded type",
        _ordinary(story, "Folded type", 1), "Content-Type folded, in capitals, with a comment",
        "odd-header",
        mime=["CONTENT-TYPE: APPLICATION/PKCS7-MIME (S/MIME);\n\tSMIME-TYPE=ENVELOPED-DATA",
              "CONTENT-TRANSFER-ENCODING: BASE64"])


def odd_bodies(story: Story) -> None:
    put = story.sealed
    put(Place("2013-10-01T08:00:00+02:00"), "workshop", "Sixty-one",
        _ordinary(story, "Sixty-one", 0), "61 characters to a line of base64", "base64-width",
        width=61)
    put(Place("2018-11-20T08:00:00+01:00"), "library", "Nine hundred",
        _ordinary(story, "Nine hundred", 1), "900 characters to a line of base64", "base64-width",
        width=900)
    envelope = _without_padding(story)
    put(Place("2020-06-16T08:00:00+02:00"), "facilities", "No padding", envelope,
        "base64 that needs no padding", "base64-no-padding", width=76)
    place = Place("2015-03-10T08:00:00+01:00")
    envelope = _ordinary(story, "Blank lines", 1)
    fields = [*header("accounts", "Blank lines", place.received), "MIME-Version: 1.0",
              *mime_fields()]
    story.put(place, joined(fields, "\n" + base64_lines(envelope.cms, 76) + "\n\n"),
              "blank lines before and after the base64", "base64-blank-lines", states=READABLE,
              envelope=envelope)
    place = Place("2022-03-29T08:00:00+02:00")
    envelope = _ordinary(story, "Raw octets", 1)
    fields = [*header("workshop", "Raw octets", place.received), "MIME-Version: 1.0",
              *mime_fields(encoding="binary")]
    story.put(place, joined(fields, envelope.cms), "binary transfer encoding: DER as it is",
              "binary-encoding", states=READABLE, envelope=envelope)
    for when, subject in [("2016-12-06T08:00:00+01:00", "Stored with CRLF"),
                          ("2023-09-12T08:00:00+02:00", "Stored with CRLF again")]:
        put(Place(when, flags="seen answered", sizes="SW", stored_crlf=True), "library", subject,
            _ordinary(story, subject, len(subject)), "encrypted and stored with CRLF")


def _without_padding(story: Story) -> Envelope:
    """Lengthens the content until the CMS is a multiple of three octets."""
    inner = crlf(text("No padding"))
    for _ in range(200):
        envelope = story.mint.by_hand(inner, KEY)
        if len(envelope.cms) % 3 == 0:
            return envelope
        inner += b"All the best\r\n"
    raise RuntimeError("no length fits")


def other_programs(story: Story) -> None:
    put, make = story.sealed, story.mint
    put(Place("2012-05-08T11:30:00+02:00", flags="seen passed"), "accounts", "RE: Figures for May",
        make.by_openssl(crlf(alternative("Figures for May")), KEY, "accounts",
                        algorithm="des-ede3-cbc"),
        "header fields as Outlook writes them", "outlook-like",
        mime=["Content-Type: application/x-pkcs7-mime;smime-type=enveloped-data;name=smime.p7m",
              "Content-Disposition: attachment; filename=\"smime.p7m\"",
              "Content-Transfer-Encoding: base64"],
        extra=["X-Mailer: Microsoft Outlook 14.0", "Thread-Index: Ac0s6mZ0c2FtcGxlMTIzNDU2Nzg5MA==",
               "X-MS-Has-Attach: yes", "X-MS-TNEF-Correlator:", "Accept-Language: en-GB, de-DE",
               "Content-Language: en-GB", "x-originating-ip: [192.0.2.77]"])
    put(Place("2024-06-04T10:00:00+02:00", flags="seen"), "announce", "[announce] Encrypted list",
        make.by_hand(crlf(text("Encrypted list")), KEY, "library", "workshop"),
        "header fields of a mailing list, three recipients", "mailing-list", "three-recipients",
        extra=["Sender: announce-bounces@lists.example.org",
               "List-Id: Announcements\n <announce.lists.example.org>",
               "List-Post: <mailto:announce@lists.example.org>",
               "List-Archive: <https://lists.example.org/announce/>",
               "Errors-To:\n announce-bounces@lists.example.org",
               "X-BeenThere: announce@lists.example.org"],
        )
    put(Place("2023-04-04T09:00:00+02:00", "Sent"), "owner", "Order of paper",
        make.by_openssl(crlf(text("Order of paper")), "workshop", KEY, oaep="sha1"),
        "sent mail, OAEP")
    put(Place("2024-09-01T20:00:00+02:00", "Entwürfe", "draft"), "owner", "Draft to the workshop",
        make.by_openssl(crlf(text("Draft to the workshop")), KEY), "an encrypted draft, unseen")


def to_oneself(story: Story) -> None:
    """The same ciphertext twice: sent, and received with the fields of the way."""
    envelope = story.mint.by_openssl(crlf(text("Note to myself")), KEY)
    first = Place("2022-10-17T19:00:00+02:00", "Sent")
    second = replace(first, when="2022-10-17T19:00:04+02:00", folder="INBOX", flags="seen flagged")
    own = header("owner", "Note to myself", first.received, to="owner")
    way = ["Return-Path: <owner@example.org>",
           "Received: from client\n\tby mail.example.org; Mon, 17 Oct 2022 19:00:03 +0200",
           "Received: by mail.example.org with LMTP;\n\tMon, 17 Oct 2022 19:00:04 +0200"]
    for place, fields in [(first, own), (second, [*way, *own])]:
        story.sealed(place, "owner", "", envelope, "mail to oneself: the same ciphertext in Sent "
                     "and INBOX", "to-oneself", fields=[*fields, "MIME-Version: 1.0"])


def odd_contents(story: Story) -> None:
    put, make = story.sealed, story.mint
    inner = text("Line feeds only").encode()
    put(Place("2015-08-25T08:00:00+02:00"), "library", "Line feeds only",
        make.by_openssl(inner, KEY), "LF at the line ends of the inner entity",
        "inner-lf")
    protected = "Content-Type: text/plain; charset=us-ascii; hp=\"cipher\"\n" + "".join(
        f"{field}\n" for field in [
            "From: Accounts <accounts@example.org>", f"To: {OWNER}", "Subject: The real subject",
            "HP-Outer: Subject: [...]"]) + "\n" + letter("The real subject")
    put(Place("2025-02-18T09:00:00+01:00", flags="", keywords=[]), "accounts", "[...]",
        make.by_hand(crlf(protected), KEY, oaep="sha256"),
        "the real subject stands within (RFC 9788)", "protected-header")
    wrapped = ("Content-Type: message/rfc822\n\nFrom: Library desk <library@example.org>\n"
               f"To: {OWNER}\nSubject: Wrapped whole\n{text('Wrapped whole')}")
    put(Place("2019-06-26T09:00:00+02:00"), "library", "Encrypted message",
        make.by_openssl(crlf(wrapped), KEY), "a whole message within (RFC 8551 section 3.1)",
        "protected-header")
    attribute = bytes.fromhex("301506092a864886f70d010906310806062a0304050607")
    put(Place("2025-05-06T09:00:00+02:00"), "workshop", "With attributes",
        make.by_hand(crlf(text("With attributes")), KEY, attributes=attribute),
        "unprotected attributes after the content", "attributes")
    put(Place("2025-08-21T09:00:00+02:00", flags=""), "facilities", "No header within",
        make.by_hand(crlf(letter("No header within")), KEY, algorithm="aes-256-gcm"),
        "a body without any header, but authenticated", "inner-without-header",
        mime=mime_fields(smime_type="authEnveloped-data"))


def forwarded(story: Story) -> None:
    place = Place("2021-05-11T10:00:00+02:00", keywords=["$Forwarded"])
    envelope = story.mint.by_openssl(crlf(attachment("Forwarded inside", "plan.png", 2500,
                                                     "image/png")), KEY)
    fields = [*header("workshop", "Forwarded inside", place.received), "MIME-Version: 1.0"]
    part = joined([*fields, *mime_fields()], base64_lines(envelope.cms)).decode()
    entity = mixed("Fwd: Forwarded inside", f"Content-Type: message/rfc822\n\n{part}")
    outer = header("facilities", "Fwd: Forwarded inside", place.received)
    story.put(place, around(outer, entity.encode()), "an encrypted mail forwarded as an attachment",
              "nested-forward", states=READABLE, envelope=envelope)


def asking_for_care(story: Story) -> None:
    make, put = story.mint, story.sealed
    review = ("encrypted", "review")
    put(Place("2014-09-17T09:00:00+02:00", "Archive/2014"), "supplier", "Blank line first",
        make.by_openssl(b"\r\n\r\n" + crlf(text("Blank line first")), KEY),
        "blank lines before the inner header, and nothing proves the key", "review",
        states=review)
    put(Place("2020-02-05T09:00:00+01:00", flags="seen flagged"), "supplier", "Just words",
        make.by_hand(crlf(letter("Just words")), KEY),
        "a body without header, and nothing proves the key", "review", states=review)
    subject = "Signed over the encryption"
    place = Place("2018-07-31T09:00:00+02:00")
    envelope = _ordinary(story, subject, 0)
    entity = crlf(joined(mime_fields(), base64_lines(envelope.cms)))
    raw = clear_signed(entity, make.scratch, "workshop", subject)
    story.put(place, around(header("workshop", subject, place.received), raw),
              "an encrypted layer under a signature", "sealed",
              states=("under-signature", "under-signature"), envelope=envelope)
    envelope = make.by_hand(crlf(text("Altered on the way")), KEY, algorithm="aes-256-gcm")
    altered = replace(envelope, cms=envelope.cms[:-1] + bytes([envelope.cms[-1] ^ 1]),
                      openssl=False)
    put(Place("2024-11-12T09:00:00+01:00"), "travel", "Altered on the way", altered,
        "one bit of the authentication tag is turned", "tag-altered",
        states=("encrypted", "malformed"), mime=mime_fields(smime_type="authEnveloped-data"))


def recent(story: Story) -> None:
    """Ordinary mail of the last years, so that each year has some."""
    rows = [
        ("2023-11-08T08:20:00+01:00", "INBOX", "seen", "accounts", "Cost centres"),
        ("2024-04-17T16:05:00+02:00", "INBOX", "seen answered", "workshop", "Bench by the window"),
        ("2024-12-19T11:00:00+01:00", "Projekt Umzug", "seen", "facilities", "Last boxes"),
        ("2025-03-25T09:45:00+01:00", "Sent", "seen", "owner", "Re: Last boxes"),
        ("2025-06-12T14:14:00+02:00", "INBOX", "answered flagged", "library", "Summer opening"),
        ("2025-10-02T08:00:00+02:00", "INBOX", "", "travel", "Seat reservation"),
    ]
    for number, (when, folder, flags, sender, subject) in enumerate(rows):
        names = ("workshop", KEY) if sender == "owner" else (KEY,)
        inner = crlf(attachment(subject, f"{stable_name(subject)}.pdf", 3000 + 700 * number,
                                "application/pdf"))
        make = story.mint.by_hand if number % 2 else story.mint.by_openssl
        story.sealed(Place(when, folder, flags, sizes=["S", "SW"][number % 2]), sender, subject,
                     make(inner, *names), "ordinary, with an attachment")
