"""Mail in clear, signed mail, and mail that no key opens: damaged, foreign, to somebody else."""

from __future__ import annotations

import gzip
import random

from making.entities import (
    alternative,
    around,
    attachment,
    base64_lines,
    clear_signed,
    crlf,
    header,
    joined,
    mime_fields,
    opaque_signed,
    quoted_text,
    stable_name,
    text,
)
from making.story import MALFORMED, MISSING, SIGNED, UNSUPPORTED, Place, Story

# fmt: off
# A message is a short paragraph here; one argument to a line would hide the mailbox.

def clear_mail(story: Story) -> None:
    plain = story.plain
    plain(Place("2006-05-09T08:14:11+02:00", "Archive/2008"), "library",
          "Welcome to the reading room", text("Welcome to the reading room"),
          "the oldest clear mail", "clear-text")
    plain(Place("2010-01-04T09:00:00+01:00", flags="", sizes=""), "announce",
          "Opening hours in January", text("Opening hours in January"),
          "unseen mailing-list mail in clear, no size in its name", "clear-text", "mailing-list",
          extra=["List-Id: Announcements <announce.lists.example.org>",
                 "List-Unsubscribe: <mailto:announce-leave@lists.example.org>",
                 "Precedence: list"])
    plain(Place("2012-06-18T16:40:03+02:00", flags="seen answered"), "travel",
          "Your tickets", alternative("Your tickets"),
          "text and HTML in clear", "clear-alternative")
    plain(Place("2014-03-21T11:02:45+01:00", "Archive/2014"), "supplier", "Price list 2014",
          attachment("Price list 2014", "prices-2014.csv", 1800, "text/csv"),
          "an attachment in clear", "clear-attachment")
    plain(Place("2015-09-02T07:55:10+02:00", "Büro & Lager", "seen flagged"), "facilities",
          "Umbau im zweiten Stock", quoted_text("Umbau im zweiten Stock"),
          "quoted-printable, in a folder with a space, an ampersand and an umlaut",
          "clear-text")
    plain(Place("2017-11-30T18:21:00-05:00", flags="seen", stored_crlf=True), "travel",
          "Change of platform", alternative("Change of platform"),
          "clear and stored with CRLF", "clear-alternative")
    plain(Place("2018-02-14T12:00:00+00:00", "Entwürfe", "draft seen"), "owner",
          "Draft of the yearly report", text("Draft of the yearly report"),
          "a draft in clear", "clear-text")
    plain(Place("2019-08-08T05:30:30+02:00", flags="seen passed"), "workshop",
          "Photograph of the door", attachment("Photograph of the door", "door.jpg", 4000,
                                               "image/jpeg"),
          "an attachment in clear, forwarded", "clear-attachment")
    place = Place("2020-04-01T10:10:10+02:00", flags="flagged")
    raw = b"".join(
        line.encode() + b"\n" for line in header("announce", "(no message follows)", place.received)
    )
    story.put(place, raw, "header fields and nothing else", "clear", "header-only",
              states=("clear", "clear"))


def signed_mail(story: Story) -> None:
    scratch = story.mint.scratch
    rows = [
        ("2011-12-05T09:41:00+01:00", "INBOX", "seen", "accounts", "Closing of the books", "clear"),
        ("2013-07-16T14:05:21+02:00", "INBOX", "answered", "workshop", "Lathe repaired", "opaque"),
        ("2016-10-11T08:30:00+02:00", "Projekt Umzug", "seen", "facilities", "Plan of the move",
         "clear"),
        ("2021-01-19T17:17:17+01:00", "INBOX", "", "library", "Shelf marks", "clear"),
        ("2022-05-23T22:22:22+02:00", "Sent", "seen", "owner-2011", "Signed approval", "opaque"),
    ]
    for when, folder, flags, signer, subject, kind in rows:
        entity = crlf(text(subject, charset="us-ascii"))
        if kind == "clear":
            raw = clear_signed(entity, scratch, signer, subject)
        else:
            raw = opaque_signed(entity, scratch, signer)
        sender = "owner" if signer.startswith("owner") else signer
        story.plain(Place(when, folder, flags), sender, subject, raw,
                    f"{kind}-signed, not encrypted", f"{kind}-signed", states=SIGNED)


def mail_of_others(story: Story) -> None:
    make = story.mint
    note = "to a key nobody has"
    inner = crlf(text("Not for us"))
    story.sealed(Place("2009-02-03T13:00:00+01:00", "Archive/2008"), "library", "Misdirected",
                 make.by_openssl(inner, "stranger", algorithm="des-ede3-cbc"),
                 f"{note}: 3DES", "stranger-only", states=MISSING)
    story.sealed(Place("2015-04-29T06:45:12+02:00", flags="seen flagged"), "accounts",
                 "Forwarded by mistake", make.by_hand(inner, "stranger", keyid=True),
                 f"{note}, named by its subject key identifier", "stranger-only",
                 states=MISSING)
    story.sealed(Place("2019-12-24T15:00:00+01:00", flags=""), "workshop", "Season's greetings",
                 make.by_openssl(inner, "stranger", "library", algorithm="aes-256-gcm"),
                 f"{note} and to the library, not to the owner", "stranger-only",
                 states=MISSING)


def damaged_mail(story: Story) -> None:
    make = story.mint
    place = Place("2010-09-09T09:09:09+02:00")
    envelope = make.by_openssl(crlf(text("Cut short", 8)), "owner-2008", algorithm="aes-128-cbc")
    fields = [*header("workshop", "Cut short", place.received), *mime_fields()]
    body = base64_lines(envelope.cms)
    story.put(place, joined(fields, body[: len(body) * 2 // 3 - 7]),
              "truncated: the base64 ends within a line", "truncated",
              states=MALFORMED)
    place = Place("2014-08-20T20:20:20+02:00", "Archive/2014", "seen answered")
    envelope = make.by_hand(crlf(text("Interrupted upload", 10)), "owner-2011")
    fields = [*header("accounts", "Interrupted upload", place.received), *mime_fields()]
    story.put(place, joined(fields, base64_lines(envelope.cms[:-300])),
              "truncated in the middle of the encrypted content; the base64 is whole",
              "truncated", states=MALFORMED)
    place = Place("2018-06-06T06:06:06+02:00", flags="")
    envelope = make.by_openssl(crlf(text("Stream broke off", 12)), "owner-2011", stream=True)
    fields = [*header("library", "Stream broke off", place.received), *mime_fields()]
    story.put(place, joined(fields, base64_lines(envelope.cms[:-60])),
              "truncated BER: it ends within the last piece of the content", "truncated",
              states=MALFORMED)


def foreign_mail(story: Story) -> None:
    place = Place("2016-02-29T23:59:30+01:00", flags="seen")
    armour = base64_lines(b"\x85\x01\x0c\x03" + random.Random("armour").randbytes(700))
    subject = "Encrypted with another system"
    boundary = stable_name(subject)
    entity = (
        'Content-Type: multipart/encrypted; protocol="application/pgp-encrypted";\n'
        f' boundary="{boundary}"\n\n--{boundary}\nContent-Type: application/pgp-encrypted\n\n'
        f'Version: 1\n\n--{boundary}\nContent-Type: application/octet-stream; name="m.asc"\n\n'
        f"-----BEGIN PGP MESSAGE-----\n\n{armour}-----END PGP MESSAGE-----\n\n--{boundary}--\n"
    )
    story.plain(place, "facilities", subject, entity, "PGP/MIME", "pgp-mime", states=UNSUPPORTED)
    place = Place("2021-07-07T07:07:07+02:00", "Büro & Lager", sizes="")
    fields = header("facilities", "Compressed by the server", place.received)
    raw = around(fields, text("Compressed by the server").encode())
    story.put(place, gzip.compress(raw, mtime=0), "a file that the mail server compressed (gzip)",
              "compressed-file", states=UNSUPPORTED)
