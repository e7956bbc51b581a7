"""Makes the sample mailbox anew: keys, mail and manifest.

Run it from anywhere with a Python that has the cryptography package; it needs
the openssl and keytool commands. Dates and words are always the same; keys
and ciphertexts are random, so every run changes every encrypted file: run it
only to change the sample. It imports nothing of sectool, whose mirror the
sample must not be.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from making import encrypted_mail, layered_mail, odd_mail, plain_mail
from making.box import Box
from making.envelopes import Mint
from making.identities import Cast, write_key_files
from making.story import Story

HERE = Path(__file__).resolve().parent
CHAPTERS = (
    plain_mail.clear_mail,
    plain_mail.signed_mail,
    plain_mail.mail_of_others,
    plain_mail.damaged_mail,
    plain_mail.foreign_mail,
    encrypted_mail.to_the_first_key,
    encrypted_mail.to_the_second_key,
    encrypted_mail.by_the_command,
    encrypted_mail.in_python,
    encrypted_mail.signed_within,
    encrypted_mail.large,
    odd_mail.odd_header_fields,
    odd_mail.missing_fields,
    odd_mail.odd_labels,
    odd_mail.odd_bodies,
    odd_mail.other_programs,
    odd_mail.to_oneself,
    odd_mail.odd_contents,
    odd_mail.forwarded,
    odd_mail.asking_for_care,
    odd_mail.recent,
    layered_mail.within_an_envelope,
    layered_mail.under_a_signature,
    layered_mail.beside_a_footer,
    layered_mail.marks,
)


def main() -> None:
    box, cast = Box(), Cast()
    with tempfile.TemporaryDirectory() as scratch:
        for identity in cast:
            identity.write_working_files(Path(scratch))
        story = Story(box, Mint(cast, Path(scratch)))
        for chapter in CHAPTERS:
            chapter(story)
        shutil.rmtree(HERE / "keys", ignore_errors=True)
        write_key_files(cast, HERE / "keys", Path(scratch))
        box.write(HERE, cast)
    by_command = sum("by-openssl" in envelope.covers for envelope in story.mint.made)
    print(f"{len(box.entries)} messages, {len(story.mint.made)} envelopes, ", end="")
    print(f"{by_command} of them by the openssl command")


if __name__ == "__main__":
    main()
