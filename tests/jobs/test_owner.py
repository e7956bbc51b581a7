"""Mail of one person is never encrypted to another, whoever's keys are given."""

from __future__ import annotations

import base64
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import pytest

from sectool import jobs
from sectool.errors import UsageError
from sectool.keys import KeySpecification, keys_of, load_key_history, people_of
from sectool.outcome import State
from sectool.progress import NoProgress
from sectool.summary import Summary
from tests.support import checker
from tests.support.checker import Key
from tests.support.layers import FOOTER, TEXT, encrypt, forward, message, multipart, stored
from tests.support.mailboxes import Mail, fill, openssl, write_private_key
from tests.support.specifications import Fields, SpecifyThere, fitting, specification

OF_THE_VICTIM = ("victim@example.org", "v.smith@example.org")
SECRET = b"Content-Type: text/plain\r\n\r\nFor the victim alone.\r\n"


def make_person(directory: Path, name: str, *addresses: str) -> Key:
    directory.mkdir(parents=True, exist_ok=True)
    key = Key(directory / f"{name}.crt", directory / f"{name}.key")
    names = ",".join(f"email:{address}" for address in addresses)
    openssl(
        *("req", "-x509", "-key", write_private_key(key.private_key, name), "-days", "3650"),
        *("-subj", f"/O=Example/CN={name}", "-addext", "keyUsage=keyEncipherment"),
        *("-addext", "basicConstraints=critical,CA:FALSE"),
        *(["-addext", f"subjectAltName={names}"] if names else []),
        *("-out", key.certificate),
    )
    return key


@dataclass(frozen=True)
class People:
    directory: Path
    """Everybody's old keys."""
    victim: Key
    thief: Key
    renamed: Key
    """The victim's, from before they took another name."""
    nobody: Key
    """A certificate without any address."""
    victim_new: Key
    thief_new: Key


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    directory = tmp_path_factory.mktemp("people")
    old, new = directory / "old", directory / "new"
    return People(
        directory=old,
        victim=make_person(old, "victim", "victim@example.org", "v.smith@example.org"),
        thief=make_person(old, "thief", "thief@example.org"),
        renamed=make_person(old, "renamed", "V.Smith@EXAMPLE.org"),
        nobody=make_person(old, "nobody"),
        victim_new=make_person(new, "victim-new", "victim@example.org"),
        thief_new=make_person(new, "thief-new", "thief@example.org"),
    )


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    return tmp_path / "Maildir"


@pytest.fixture
def specify(people: People, maildir: Path, tmp_path: Path) -> SpecifyThere:
    def make(operation: str, /, **changes: Unpack[Fields]) -> Any:
        usual: Fields = {
            "job": tmp_path / "job",
            "keys": KeySpecification((people.directory,)),
            "workers": 0,
        }
        return specification(operation, maildir, **fitting(operation, usual, changes))

    return make


class Warnings(NoProgress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str, *, hint: str = "") -> None:
        self.warnings.append(text)


def counts(summary: Summary) -> dict[State, int]:
    return {state: count for state, count in summary.counts.items() if count}


def deliver(maildir: Path, *messages: bytes) -> None:
    names = (f"cur/130000000{number}.M1P1.host:2,S" for number in itertools.count(1))
    fill(maildir, [Mail("", next(names), stored(raw)) for raw in messages])


def opened_by(maildir: Path, key: Key) -> list[bytes]:
    found = [
        checker.opened(envelope, key)
        for path in sorted((maildir / "cur").iterdir())
        for envelope in checker.envelopes(path.read_bytes())
    ]
    return [one for one in found if one is not None]


def as_stolen(envelope: bytes) -> list[bytes]:
    """A ciphertext in mails to a thief, as whole body, attachment and forward."""
    name = b'Content-Type: application/octet-stream; name="plan.p7m"\r\n'
    fields = name + b"Content-Transfer-Encoding: base64\r\n\r\n"
    file = fields + envelope.partition(b"\r\n\r\n")[2]
    return [
        message(1, envelope),
        message(2, multipart(FOOTER, file)),
        message(3, multipart(FOOTER, envelope)),
        message(4, forward(message(5, envelope))),
    ]


# --- whose keys they are --------------------------------------------------------------------


def test_people_are_told_apart_by_addresses_that_have_none_in_common(people: People) -> None:
    history = load_key_history(KeySpecification((people.directory,)))
    found = sorted(sorted(person.addresses) for person in people_of(history))
    assert [len(names) for names in found] == [1, 2]
    assert found[0] == ["thief@example.org"]


def test_one_key_with_certificates_of_two_names_is_one_persons(tmp_path: Path) -> None:
    first = make_person(tmp_path, "first", "a.smith@example.org")
    openssl(
        *("req", "-x509", "-key", first.private_key, "-subj", "/CN=second", "-days", "9"),
        *("-addext", "subjectAltName=email:a.jones@example.org", "-out", tmp_path / "second.crt"),
    )
    (person,) = people_of(load_key_history(KeySpecification((tmp_path,))))
    assert set(person.addresses) == {"a.smith@example.org", "a.jones@example.org"}


def test_an_owner_has_the_keys_that_name_them_or_nobody(people: People) -> None:
    history = load_key_history(KeySpecification((people.directory,)))
    kept = {key.source.stem for key in keys_of(history, ["v.smith@example.org"]).keys}
    assert kept == {"victim", "renamed", "nobody"}


@pytest.mark.parametrize("operation", ["decrypt", "rewrap"])
@pytest.mark.parametrize("dry_run", [False, True])
def test_keys_of_several_people_are_refused_until_someone_says_whose_mailbox_it_is(
    operation: str, dry_run: bool, people: People, specify: SpecifyThere, maildir: Path
) -> None:
    deliver(maildir, message(1, encrypt(TEXT, people.victim)))
    new = (people.victim_new.certificate,)
    asked = fitting(operation, {"dry_run": dry_run, "new_certificates": new})
    spec = specify(operation, **asked)
    with pytest.raises(UsageError, match="2 people") as caught:
        jobs.run(spec)
    assert "--owner" in caught.value.hint
    assert "--shared" in caught.value.hint
    asked["owners"] = OF_THE_VICTIM
    progress = Warnings()
    summary = jobs.run(specify(operation, **asked), progress)
    assert summary.exit_code == 0
    assert any("1 of 4 keys are left out" in text for text in progress.warnings)


def test_an_owner_whom_no_key_names_is_refused(
    people: People, specify: SpecifyThere, maildir: Path, tmp_path: Path
) -> None:
    alone = make_person(tmp_path / "keys", "alone", "alone@example.org")
    deliver(maildir, message(1, encrypt(TEXT, alone)))
    keys = KeySpecification((tmp_path / "keys",))
    with pytest.raises(UsageError, match="no key names somebody"):
        jobs.run(specify("decrypt", keys=keys, owners=("somebody@example.org",)))


def test_a_key_without_certificate_is_nobodys_where_the_others_are_several_peoples(
    people: People, specify: SpecifyThere, maildir: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("thief.crt", "thief.key", "nobody.crt", "nobody.key"):
        (bare / name).write_bytes((people.directory / name).read_bytes())
    (bare / "victim.key").write_bytes(people.victim.private_key.read_bytes())
    (bare / "renamed.crt").write_bytes(people.renamed.certificate.read_bytes())
    (bare / "renamed.key").write_bytes(people.renamed.private_key.read_bytes())
    deliver(maildir, *as_stolen(encrypt(SECRET, people.victim)))
    keys = KeySpecification((bare,), try_keys=True)
    jobs.run(specify("decrypt", keys=keys, owners=("thief@example.org",)))
    jobs.run(
        specify("encrypt", new_certificates=(people.thief_new.certificate,), partial=True),
    )
    assert opened_by(maildir, people.thief_new) == []


# --- a stolen ciphertext --------------------------------------------------------------------


@pytest.mark.parametrize("way", ["owner", "shared"])
@pytest.mark.parametrize("operation", ["decrypt", "rewrap"])
def test_a_stolen_ciphertext_is_never_encrypted_to_the_thief(
    operation: str, way: str, people: People, specify: SpecifyThere, maildir: Path
) -> None:
    stolen = encrypt(SECRET, people.victim)
    own = encrypt(TEXT, people.thief)
    # Whoever stole it may name themselves beside: what their key opens is not that.
    forged = forged_recipient(stolen, own)
    deliver(maildir, *as_stolen(stolen), *as_stolen(forged), message(9, own))
    whose = {"owners": ("thief@example.org",)} if way == "owner" else {"shared": True}
    keys = KeySpecification((people.directory,), try_keys=True)
    new = (people.thief_new.certificate,)
    if operation == "rewrap":
        jobs.run(specify("rewrap", keys=keys, new_certificates=new, **whose))
    else:
        jobs.run(specify("decrypt", keys=keys, **whose))
        jobs.run(specify("encrypt", new_certificates=new, partial=True))
    assert opened_by(maildir, people.thief_new) == [TEXT]
    assert opened_by(maildir, people.victim).count(SECRET) == 4 + 4


def forged_recipient(stolen: bytes, own: bytes) -> bytes:
    """The stolen envelope with the RecipientInfo of another mail, to the thief, put first."""

    def der(entity: bytes) -> bytes:
        return base64.b64decode(entity.partition(b"\r\n\r\n")[2])

    def element(tag: int, content: bytes) -> bytes:
        size = len(content)
        octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
        head = bytes([size]) if size < 128 else bytes([0x80 | len(octets)]) + octets
        return bytes([tag]) + head + content

    def children(raw: bytes) -> list[bytes]:
        """The elements in a constructed one."""
        at = 2 + (raw[1] & 0x7F if raw[1] & 0x80 else 0)
        found = []
        while at < len(raw):
            first = raw[at + 1]
            octets = first & 0x7F if first & 0x80 else 0
            size = int.from_bytes(raw[at + 2 : at + 2 + octets], "big") if octets else first
            found.append(raw[at : at + 2 + octets + size])
            at += 2 + octets + size
        return found

    oid, explicit = children(der(stolen))
    version, recipients, content = children(children(explicit)[0])
    theirs = children(children(children(der(own))[1])[0])[1]
    both = element(0x31, b"".join(children(theirs) + children(recipients)))
    envelope = element(0x30, version + both + content)
    raw = element(0x30, oid + element(0xA0, envelope))
    header = stolen.partition(b"\r\n\r\n")[0]
    return header + b"\r\n\r\n" + base64.encodebytes(raw).replace(b"\n", b"\r\n")


def test_mail_of_a_shared_mailbox_goes_to_those_who_could_read_it(
    people: People, specify: SpecifyThere, maildir: Path
) -> None:
    deliver(
        maildir,
        message(1, encrypt(TEXT, people.victim)),
        message(2, encrypt(TEXT, people.thief)),
        message(3, encrypt(TEXT, people.victim, people.thief)),
        message(4, multipart(encrypt(TEXT, people.victim), encrypt(SECRET, people.thief))),
    )
    jobs.run(specify("decrypt", shared=True))
    new = (people.victim_new.certificate, people.thief_new.certificate)
    summary = jobs.run(specify("encrypt", new_certificates=new))
    assert (counts(summary), summary.exit_code) == ({State.REENCRYPTED: 4}, 0)
    assert opened_by(maildir, people.victim_new) == [TEXT, TEXT, TEXT]
    assert opened_by(maildir, people.thief_new) == [TEXT, TEXT, SECRET]
    both = KeySpecification((people.victim_new.certificate.parent,))
    verified = jobs.run(specify("verify", verify_keys=both))
    assert counts(verified) == {State.VERIFIED: 4}
    jobs.run(specify("rollback"))
    assert opened_by(maildir, people.thief_new) == []


def test_mail_of_a_shared_mailbox_that_nobody_of_the_new_could_read_stays(
    people: People, specify: SpecifyThere, maildir: Path
) -> None:
    deliver(
        maildir, message(1, encrypt(TEXT, people.victim)), message(2, encrypt(TEXT, people.nobody))
    )
    jobs.run(specify("decrypt", shared=True))
    summary = jobs.run(specify("encrypt", new_certificates=(people.thief_new.certificate,)))
    assert summary.exit_code == 3
    assert opened_by(maildir, people.thief_new) == []
    assert "no new certificate is of a person" in summary.not_done[0].reason


def test_a_layer_that_not_everybody_can_read_keeps_its_recipients(
    people: People, specify: SpecifyThere, maildir: Path
) -> None:
    inner = encrypt(SECRET, people.victim)
    deliver(maildir, message(1, encrypt(inner, people.victim, people.thief)))
    jobs.run(specify("decrypt", shared=True))
    new = (people.victim_new.certificate, people.thief_new.certificate)
    summary = jobs.run(specify("encrypt", new_certificates=new))
    assert counts(summary) == {State.REENCRYPTED: 1}
    assert len(summary.needs_old_keys) == 1
    (plaintext,) = opened_by(maildir, people.thief_new)
    assert plaintext == inner


def test_a_layer_is_not_everybodys_who_reads_what_is_around_it_by_keys_of_a_later_run(
    people: People, specify: SpecifyThere, maildir: Path
) -> None:
    inner = encrypt(SECRET, people.victim)
    outer = encrypt(multipart(inner, FOOTER), people.victim, people.thief)
    deliver(maildir, message(1, outer))
    alone = KeySpecification((people.victim.certificate, people.victim.private_key))
    jobs.run(specify("decrypt", keys=alone, shared=True))
    # The same ciphertext comes once more, now that another key is at hand; then once more.
    deliver(maildir, message(1, outer), message(2, multipart(FOOTER, outer)))
    jobs.run(specify("decrypt", shared=True))
    third = message(3, multipart(outer, FOOTER))
    deliver(maildir, message(1, outer), message(2, multipart(FOOTER, outer)), third)
    jobs.run(specify("decrypt", keys=alone, shared=True))
    new = (people.victim_new.certificate, people.thief_new.certificate)
    summary = jobs.run(specify("encrypt", new_certificates=new))
    assert counts(summary) == {State.REENCRYPTED: 3}
    assert len(summary.needs_old_keys) == 3
    plaintexts = opened_by(maildir, people.thief_new)
    assert len(plaintexts) == 3
    for plaintext in plaintexts:
        (left,) = checker.envelopes(plaintext)
        assert checker.opened(left, people.thief_new) is None
        assert checker.opened(left, people.victim) == SECRET


def test_a_subject_of_a_shared_mailbox_is_not_shown_to_all_who_read_it(
    people: People, specify: SpecifyThere, maildir: Path
) -> None:
    protected = b'Content-Type: text/plain; hp="cipher"\r\nSubject: the secret plan\r\n\r\nbody\r\n'
    outer = message(1, encrypt(protected, people.victim))
    deliver(maildir, outer.replace(b"Subject: message 1", b"Subject: [...]"))
    jobs.run(specify("decrypt", shared=True))
    new = (people.victim_new.certificate, people.thief_new.certificate)
    with pytest.raises(UsageError, match="restored Subject"):
        jobs.run(specify("encrypt", new_certificates=new, restore_subject=True))


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"shared": True}, {"owners": ("victim@example.org",)}, "add --shared"),
        ({"owners": ("victim@example.org",)}, {"shared": True}, "leave out --shared"),
    ],
)
def test_a_job_stays_one_persons_or_shared(
    first: Fields,
    second: Fields,
    words: str,
    people: People,
    specify: SpecifyThere,
    maildir: Path,
) -> None:
    deliver(maildir, message(1, encrypt(TEXT, people.victim)))
    jobs.run(specify("decrypt", **first))
    with pytest.raises(UsageError) as caught:
        jobs.run(specify("decrypt", **second))
    assert words in caught.value.hint


def test_a_later_run_with_the_keys_of_another_person_is_refused(
    people: People, specify: SpecifyThere, maildir: Path
) -> None:
    deliver(maildir, message(1, encrypt(SECRET, people.victim)))
    for key in (people.victim, people.thief):
        keys = KeySpecification((key.certificate, key.private_key))
        if key is people.victim:
            jobs.run(specify("decrypt", keys=keys))
            continue
        with pytest.raises(UsageError, match="another person"):
            jobs.run(specify("decrypt", keys=keys))
        both = ("victim@example.org", "thief@example.org")
        assert jobs.run(specify("decrypt", keys=keys, owners=both)).exit_code == 0


def test_a_shared_mailbox_is_not_put_in_clear(specify: SpecifyThere, maildir: Path) -> None:
    deliver(maildir, message(1, TEXT))
    with pytest.raises(UsageError, match="put in clear"):
        jobs.run(specify("decrypt", shared=True, in_place=True))
