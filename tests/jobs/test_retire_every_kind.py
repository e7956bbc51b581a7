"""A mailbox with one message of each kind that people report, moved whole: is the old key free?

What openssl opens with the old keys in what the move left is found by brute force
(``tests.support.finder``). None of it may be missing from what speaks for keeping them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import pytest

from sectool import jobs
from sectool.keys import KeySpecification
from sectool.retirement import Answer
from sectool.summary import RetiredKey, VerifySummary
from tests.support import finder
from tests.support.checker import Key
from tests.support.mailboxes import Keys, Mail, encrypted, fill
from tests.support.specifications import Fields, fitting, specification

CASES = Path(__file__).parents[1] / "cases"
KEYS = CASES / "clear-eml-attachment" / "keys"
OLD = [Key(KEYS / "old.pem", KEYS / "old.key"), Key(KEYS / "oldec.pem", KEYS / "oldec.key")]
KINDS = sorted(
    path
    for path in CASES.glob("*/*.eml")
    if (own := path.parent / "keys" / "old.key").exists()
    and own.read_bytes() == OLD[0].private_key.read_bytes()
)
NOT_FOR_OPENSSL = {
    "j-rpmsg.eml",
    "k-notes.eml",
    "gcm-in-env-bc.eml",
    "gcm-in-env-notag-params.eml",
    "gcm-in-env-pkijs.eml",
    "rsa-long.eml",
}
"""No CMS; AES-GCM in an EnvelopedData; an encryptedKey longer than the modulus."""

TAKEN = CASES / "clear-eml-attachment" / "dsn.eml"
"""Of a kind that every move takes."""


@dataclass(frozen=True)
class Moved:
    """A mailbox after the move, and what was answered of its old keys."""

    maildir: Path
    kinds: dict[str, Path]
    """Of each file the message it was made from."""
    answers: list[RetiredKey]

    @property
    def claimed(self) -> set[str]:
        """Base names of messages that speak for keeping a key."""
        return {claim.ref for answer in self.answers for claim in answer.claims}


def move(directory: Path, keys: Keys, kinds: list[Path]) -> Moved:
    maildir, old = directory / "Maildir", KeySpecification((KEYS,))
    mail = [Mail("", "cur/1300000000.M0P1.host:2,S", encrypted(1, OLD[0]))]
    places: dict[str, Path] = {}
    for number, kind in enumerate(kinds, 1):
        name = f"13{number:08}.M{number}P1.host"
        places[name] = kind
        mail.append(Mail("", f"cur/{name}:2,S", kind.read_bytes()))
    fill(maildir, mail)
    new = KeySpecification((keys.new.certificate, keys.new.private_key))

    def run(operation: str, **changes: Unpack[Fields]) -> list[RetiredKey] | None:
        usual: Fields = {"job": directory / "job", "workers": 0, "max_failures": 100}
        spec = specification(operation, maildir, **fitting(operation, usual, changes))
        summary = jobs.run(spec)
        return summary.retire if isinstance(summary, VerifySummary) else None

    run("decrypt", keys=old)
    run("encrypt", new_certificates=(keys.new.certificate,), verify_keys=new)
    answers = run("verify", verify_keys=new, retire=old)
    assert answers is not None
    return Moved(maildir, places, answers)


@pytest.fixture(scope="module")
def moved(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Moved:
    return move(tmp_path_factory.mktemp("moved"), keys, KINDS)


def left(moved: Moved) -> dict[str, str]:
    """Base names of messages in the mailbox that openssl opens with an old key, and their kinds."""
    found: dict[str, str] = {}
    for path in (moved.maildir / "cur").iterdir():
        name = path.name.partition(":")[0]
        if finder.opens(path.read_bytes(), OLD):
            kind = moved.kinds.get(name)
            found[name] = f"{kind.parent.name}/{kind.name}" if kind else name
    return found


def test_no_message_that_openssl_opens_with_an_old_key_is_missing_from_the_answer(
    moved: Moved,
) -> None:
    opened = left(moved)
    unseen = sorted(kind for name, kind in opened.items() if name not in moved.claimed)
    assert unseen == []
    if opened:
        assert Answer.worst(one.answer for one in moved.answers) is not Answer.NOT_NEEDED


def test_what_no_key_of_ours_could_open_counts_against_none(moved: Moved) -> None:
    claimed = {moved.kinds[name].name for name in moved.claimed if name in moved.kinds}
    assert claimed.isdisjoint({"j-rpmsg.eml", "k-notes.eml"})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.parent.name}/{kind.name}")
def test_the_finder_finds_in_each_kind_what_openssl_opens(kind: Path) -> None:
    assert finder.opens(kind.read_bytes(), OLD) is (kind.name not in NOT_FOR_OPENSSL)


def test_when_everything_was_taken_the_old_keys_are_not_needed_here(
    keys: Keys, tmp_path: Path
) -> None:
    moved = move(tmp_path, keys, [TAKEN])
    assert left(moved) == {}
    assert [one.answer for one in moved.answers] == [Answer.NOT_NEEDED] * 2
    assert [one.looked_at.messages for one in moved.answers] == [2, 2]
