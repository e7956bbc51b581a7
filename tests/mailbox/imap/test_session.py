"""A session with a server that does what no good one does: nothing is lost, and it ends."""

from __future__ import annotations

import base64
import logging
import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sectool import jobs
from sectool.errors import (
    Interrupted,
    LoginRefused,
    MailboxError,
    MessageError,
    MessageVanished,
    NoSpace,
    ReadOnlyMailbox,
    SectoolError,
    ServerUnavailable,
    UnsafeDirectory,
    UsageError,
)
from sectool.hardening import Secret
from sectool.jobs.session.login import credentials_for
from sectool.mailbox import (
    Access,
    Account,
    Credentials,
    Mailbox,
    MailboxSpecification,
    retrying,
    stopped_by,
)
from sectool.mailbox.imap import connection, download
from sectool.mailbox.imap.connection import NotTrusted
from sectool.message import MessageRef
from sectool.outcome import State
from tests.support.imap_server import VALIDITY, Server
from tests.support.mounts import Mount

MAIL = {
    3: b"From: alice@example.org\r\nSubject: short\r\n\r\nbody\r\n",
    5: b"Subject: one\r\n\r\n" + b"a line of text that is long\r\n" * 30,
    9: b"",
    4_000_000_000: b"Subject: last\r\n\r\n(\r\n* BYE\r\nS1 OK )\r\n{9999999}\r\n",
}
SECRET = "correct horse battery"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(retrying, "WAITS", (0.0,) * 5)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(connection, "STEP", 0.05)
    monkeypatch.setattr(download, "PART", 200)
    monkeypatch.setattr(download, "LARGE_PART", 150)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(folders={"INBOX": dict(MAIL)}).running() as running:
        yield running


def ref(uid: int, folder: str = "INBOX") -> MessageRef:
    return MessageRef(folder, f"{VALIDITY}:{uid}")


REFS = [ref(uid) for uid in MAIL]


def read_all(mailbox: Mailbox) -> dict[MessageRef, bytes]:
    ahead = mailbox.fetch_ahead(REFS)
    found = {}
    for one in REFS:
        with ahead.fetch(one).content.open() as stream:
            found[one] = stream.read()
    ahead.close()
    return found


def files(directory: Path) -> list[str]:
    return [path.name for path in directory.rglob("mail-*")]


WHOLE = {ref(uid): raw for uid, raw in MAIL.items()}


def test_what_is_fetched_is_what_is_there_and_no_file_stays(server: Server, tmp_path: Path) -> None:
    with server.opened() as mailbox:
        assert [listing.ref for listing in mailbox.walk("INBOX")] == REFS
        assert read_all(mailbox) == WHOLE
        ahead = mailbox.fetch_ahead(REFS)
        assert files(tmp_path)
        ahead.close()
    assert files(tmp_path) == []
    assert server.connections == 1
    commands = b"\n".join(server.said)
    assert b"BODY[" not in commands
    assert b"SELECT" not in commands


def test_a_fetch_that_is_cut_after_any_byte_goes_on(
    server: Server, tmp_path: Path, whole: bool
) -> None:
    """Takes 0.01 s for each place; the normal run tries every 41st."""
    with server.opened() as mailbox:
        read_all(mailbox)
    length = 4000
    for place in range(0, length, 1 if whole else 41):
        server.cuts[:] = [place, place]
        with server.opened() as mailbox:
            assert read_all(mailbox) == WHOLE
            assert [listing.ref for listing in mailbox.walk("INBOX")] == REFS
    assert server.cuts  # the last places were behind all that is sent
    assert files(tmp_path) == []


def test_a_server_that_sends_a_little_on_each_connection_is_read_to_the_end(server: Server) -> None:
    with server.opened() as mailbox:
        list(mailbox.walk("INBOX"))
        server.cuts[:] = [900] * 100
        mailbox.close()
    with server.opened() as mailbox:
        assert read_all(mailbox) == WHOLE
    assert server.connections > 4


def test_a_server_that_stays_away_ends_the_run(server: Server) -> None:
    server.cuts[:] = [0] * 100
    with server.opened() as mailbox, pytest.raises(ServerUnavailable):
        list(mailbox.folders())
    assert 2 < server.connections < 10


# --- answers that are none ---------------------------------------------------------------------

BODY = b'* 1 FETCH (UID 3 FLAGS () INTERNALDATE "01-Jan-2001 10:00:00 +0000" BODY[]<0> '
HOSTILE: dict[str, tuple[str, str | bytes]] = {
    "a wrong tag": ("UID FETCH", b"S99 OK done\r\n"),
    "another message": ("UID FETCH", "* 1 FETCH (UID 77 BODY[]<0> {3}\r\nabc)\r\n"),
    "another part": ("UID FETCH", "* 1 FETCH (UID 3 BODY[]<7> {3}\r\nabc)\r\n"),
    "too much of it": ("UID FETCH", BODY + b"{90000}\r\n" + b"x" * 90_000 + b")\r\nTAG OK\r\n"),
    "4 GB announced": ("UID FETCH", BODY + b"{4294967296}\r\nx"),
    "less than announced": ("UID FETCH", BODY + b"{100}\r\nx)\r\nTAG OK done\r\n"),
    "no list": ("UID FETCH", b"* 1 FETCH 5\r\nTAG OK\r\n"),
    "an odd list": ("UID FETCH", b"* 1 FETCH (UID 3 FLAGS)\r\nTAG OK\r\n"),
    "no date": ("UID FETCH", "* 1 FETCH (UID 3 BODY[]<0> {3}\r\nabc)\r\n"),
    "nothing": ("UID FETCH", ""),
    "no text": ("UID FETCH", "* 1 FETCH (UID 3 BODY[]<0> NIL)\r\n"),
    "no": ("UID FETCH", b"TAG NO it is damaged\r\n"),
    "bad": ("UID FETCH", b"TAG BAD what\r\n"),
    "more wanted": ("UID FETCH", b"+ more\r\n"),
    "goodbye": ("UID FETCH", b"* BYE leaving\r\n"),
    "noise": ("UID FETCH", b"\0\xff" * 100 + b"\r\n"),
    "search in words": ("UID SEARCH", "* SEARCH one 0 99999999999999 3\r\n"),
    "search refused": ("UID SEARCH", b"TAG NO\r\n"),
    "no validity": ("EXAMINE", "* 3 EXISTS\r\n"),
    "validity of none": ("EXAMINE", "* OK [UIDVALIDITY x] y\r\n"),
    "examine refused": ("EXAMINE", b"TAG NO [NOPERM] never\r\n"),
    "examine bad": ("EXAMINE", b"TAG BAD never\r\n"),
    "list of nothing": ("LIST", ""),
    "list of noise": ("LIST", "* LIST 1 2 3\r\n* LIST\r\n* LIST () (a) (b)\r\n"),
    "names with line ends": (
        "LIST",
        '* LIST () "/" {11}\r\nx\r\nA1 CAPAB\r\n* LIST () NIL {1}\r\n\0\r\n',
    ),
    "capabilities cut": ("CAPABILITY", b"* CAPAB"),
    "namespace of noise": ("NAMESPACE", "* NAMESPACE 5 (((((x))))) NIL\r\n"),
}


@pytest.mark.parametrize(("command", "answer"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_answer_costs_a_message_or_ends_in_an_error_of_ours(
    command: str,
    answer: str | bytes,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "SILENCE", 0.1)
    server.answers[command] = answer
    taken: list[SectoolError] = []
    with server.opened() as mailbox:
        for act in (lambda: list(mailbox.folders()), lambda: list(mailbox.walk("INBOX"))):
            try:
                act()
            except SectoolError as error:
                taken.append(error)
        try:
            ahead = mailbox.fetch_ahead(REFS)
        except SectoolError as error:
            taken.append(error)
        else:
            taken += [one for one in ahead.copies.values() if isinstance(one, MessageError)]
            ahead.close()
    assert taken or command in {"NAMESPACE", "UID SEARCH"}
    assert all(error.message for error in taken)
    assert files(tmp_path) == []
    # Whatever a server is called, nothing of a name is a command.
    assert not [line for line in server.said if line.startswith(b"A1")]


@pytest.mark.parametrize("moment", ["LIST", "EXAMINE", "UID FETCH", "CAPABILITY", "AUTH", "NOOP"])
@pytest.mark.parametrize("said", [b"* BYE\r\n", b"* OK", b""], ids=["bye", "half", "silence"])
def test_a_server_that_leaves_once_is_asked_again(
    moment: str, said: bytes, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "SILENCE", 0.3)
    left = [said]
    server.answers[moment] = lambda _: left.pop() if left else None
    with server.opened() as mailbox:
        assert read_all(mailbox) == WHOLE


UNASKED = {
    "flags of another": b"* 2 FETCH (FLAGS (\\Deleted))\r\n",
    "flags of it": b"* 1 FETCH (FLAGS (\\Deleted))\r\n",
    "another one gone": b"* 2 EXPUNGE\r\n",
    "one more": b"* 99 EXISTS\r\n* 1 RECENT\r\n",
    "alert": b"* OK [ALERT] {99}\r\n",
    "capabilities": b"* CAPABILITY IMAP4rev1\r\n",
    "a string": b"* X {5}\r\n()\r\n(\r\n",
    "a message of nobody": b"* 9 FETCH (UID 123 BODY[]<0> {3}\r\nabc)\r\n",
}


@pytest.mark.parametrize("said", UNASKED.values(), ids=UNASKED)
def test_what_nobody_asked_for_changes_nothing(said: bytes, server: Server) -> None:
    usual = server.answers

    def before(command: str) -> bytes | None:
        session_said.append(command)
        return None

    session_said: list[str] = []
    usual[""] = before
    server.before = said
    with server.opened() as mailbox:
        assert [listing.ref for listing in mailbox.walk("INBOX")] == REFS
        assert read_all(mailbox) == WHOLE
    assert len(session_said) > 5


def test_a_message_that_the_server_cannot_tell_of_costs_that_message_alone(server: Server) -> None:
    def spoil(command: str) -> bytes | None:
        numbers = command.split(" ")[2]
        return b"* 1 FETCH ((((\r\n" if "5" in numbers.split(",") and "BODY" in command else None

    server.answers["UID FETCH"] = spoil
    with server.opened() as mailbox:
        ahead = mailbox.fetch_ahead(REFS)
    lost = [one for one, found in ahead.copies.items() if isinstance(found, MessageError)]
    ahead.close()
    assert lost == [ref(5)]


def test_a_message_that_the_server_refuses_costs_that_message_alone(server: Server) -> None:
    server.answers["UID FETCH"] = lambda command: (
        b"TAG NO [SERVERBUG2] cannot\r\n" if "5" in command.split(" ")[2].split(",") else None
    )
    with server.opened() as mailbox:
        ahead = mailbox.fetch_ahead(REFS)
    found = ahead.copies[ref(5)]
    assert isinstance(found, MessageError)
    assert "cannot" in found.message
    assert sum(isinstance(one, MessageError) for one in ahead.copies.values()) == 1
    ahead.close()


def test_a_folder_that_was_made_anew_has_none_of_the_old_messages(server: Server) -> None:
    server.answers["EXAMINE"] = "* OK [UIDVALIDITY 8] new\r\n"
    with server.opened() as mailbox, pytest.raises(MessageVanished):
        mailbox.fetch(ref(3))


@pytest.mark.parametrize("told", [0, 1, 10**17])
def test_the_size_that_is_told_is_not_believed(
    told: int, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sectool.jobs.session.login.ENVIRONMENT_VARIABLE", "PATH")
    server.folders["INBOX"] = {3: b"Subject: x\r\n\r\n" + b"x" * 2000}
    server.size = told
    with server.opened() as mailbox:
        (listing,) = mailbox.walk("INBOX")
        assert listing.size <= 4 * 1024**3
        assert mailbox.fetch(ref(3)).content.size == 2014
        assert mailbox.head(ref(3), 100).raw == server.folders["INBOX"][3][:100]
    spec = jobs.Scan(
        mailbox=f"imap://alice@localhost:{server.port}/", account=Account(insecure=True), workers=0
    )
    summary = jobs.run(spec)
    assert (summary.counts, summary.bytes) == ({State.CLEAR: 1}, 2014)


# --- folders ------------------------------------------------------------------------------------


def test_a_hundred_thousand_folders_are_told(server: Server, whole: bool) -> None:
    """Takes 5 s with all of them; the normal run has a tenth."""
    count = 100_000 if whole else 10_000
    server.folders.update((f"folder{number}", {}) for number in range(count))
    with server.opened() as mailbox:
        assert sum(1 for _ in mailbox.folders()) == count + 1


def test_folders_are_told_apart_whatever_they_are_called(server: Server) -> None:
    told = ["INBOX", "a&AC8-b", "a/b", "A", "a", "../x", "&AOk-", "&AOk"]
    server.answers["LIST"] = "".join(f'* LIST () "/" "{one}"\r\n' for one in told)
    with server.opened() as mailbox:
        names = list(mailbox.folders())
    assert names[0] == "INBOX"
    assert len(names) == len(set(names)) == len(told)
    assert {"../x", "é", "&AOk", "a/b"} <= set(names)


def test_a_folder_that_may_not_be_read_is_named_and_not_read(server: Server) -> None:
    server.folders["Secret"] = {1: b"x"}
    server.folders["Left"] = {1: b"x"}
    server.capabilities += " ACL"
    server.answers["MYRIGHTS"] = lambda command: (
        f"* MYRIGHTS x {'lk' if 'Secret' in command else 'lrs'}\r\n"
    )
    with server.opened(Account(insecure=True, skip_folders=("L*",))) as mailbox:
        assert list(mailbox.folders()) == ["INBOX"]
        assert [one.partition(":")[0] for one in mailbox.passed_over] == ["Left", "Secret"]
        assert len(mailbox.withheld(["INBOX", "Secret", "Left", "Never"], has_moved=False)) == 2
        with pytest.raises(MailboxError):
            list(mailbox.walk("Secret"))
        found = mailbox.fetch_ahead([ref(1, "Secret")]).copies[ref(1, "Secret")]
        assert type(found) is MessageError  # it has not vanished


def test_an_account_that_shows_nothing_to_a_master_user_is_no_empty_one(server: Server) -> None:
    server.answers["STATUS"] = '* STATUS "INBOX" (MESSAGES 0)\r\n'
    master = Credentials("master", Secret("secret"), acts_for="alice")
    with server.opened(credentials=master) as mailbox, pytest.raises(ReadOnlyMailbox):
        list(mailbox.folders())
    with server.opened() as mailbox:
        assert list(mailbox.folders()) == ["INBOX"]


def test_mail_that_a_folder_of_all_mail_shows_again_is_left_only_where_it_was_met(
    server: Server,
) -> None:
    server.capabilities += " X-GM-EXT-1"
    server.folders["All"] = {}
    listed = {"INBOX": [(3, "m1"), (5, "m2")], "All": [(1, "m1"), (2, "m2"), (3, "m3"), (4, "")]}
    server.answers["LIST"] = '* LIST (\\All) "/" "All"\r\n* LIST () "/" "INBOX"\r\n'
    now = ["INBOX"]

    def examine(command: str) -> None:
        now[0] = command.split('"')[1]

    server.answers["EXAMINE"] = examine
    server.answers["UID SEARCH"] = lambda _: (
        "* SEARCH " + " ".join(str(uid) for uid, _ in listed[now[0]]) + "\r\n"
    )
    server.answers["UID FETCH"] = lambda _: "".join(
        f"* 1 FETCH (UID {uid}{' X-GM-MSGID ' if one else ''}{one})\r\n"
        for uid, one in listed[now[0]]
    )

    def shown() -> list[str]:
        return [str(one.ref) for name in mailbox.folders() for one in mailbox.walk(name)]

    with server.opened() as mailbox:
        assert shown() == ["INBOX/7:3", "INBOX/7:5", "All/7:3", "All/7:4"]
        # Moved out of the inbox, it is shown where it still is.
        listed["INBOX"] = [(5, "m2")]
        assert shown() == ["INBOX/7:5", "All/7:1", "All/7:3", "All/7:4"]


# --- who is let in ------------------------------------------------------------------------------


def plain(text: str) -> bytes:
    return base64.b64encode(text.encode())


ALICE = Credentials("alice", Secret(SECRET))
MASTER = Credentials("master", Secret(SECRET), acts_for="alice")
TOKEN = Credentials("alice", Secret(""), is_token=True, renew=lambda: Secret(SECRET))
WAYS: dict[str, tuple[str, Credentials, list[bytes]]] = {
    "login": ("IMAP4rev1", ALICE, [b'LOGIN "alice" "correct horse battery"']),
    "plain at once": (
        "AUTH=PLAIN SASL-IR",
        ALICE,
        [b"AUTHENTICATE PLAIN " + plain(f"\0alice\0{SECRET}")],
    ),
    "plain": ("AUTH=PLAIN", ALICE, [b"AUTHENTICATE PLAIN", plain(f"\0alice\0{SECRET}")]),
    "for somebody else": (
        "AUTH=PLAIN SASL-IR",
        MASTER,
        [b"AUTHENTICATE PLAIN " + plain(f"alice\0master\0{SECRET}")],
    ),
    "xoauth2": (
        "AUTH=XOAUTH2 AUTH=PLAIN SASL-IR",
        TOKEN,
        [b"AUTHENTICATE XOAUTH2 " + plain(f"user=alice\1auth=Bearer {SECRET}\1\1")],
    ),
    "oauthbearer": (
        "AUTH=XOAUTH2 AUTH=OAUTHBEARER",
        TOKEN,
        [b"AUTHENTICATE OAUTHBEARER", plain(f"n,a=alice,\1auth=Bearer {SECRET}\1\1")],
    ),
}


@pytest.mark.parametrize(("capabilities", "credentials", "wanted"), WAYS.values(), ids=WAYS)
def test_somebody_is_let_in_by(
    capabilities: str, credentials: Credentials, wanted: list[bytes], server: Server
) -> None:
    server.capabilities = capabilities
    server.answers["AUTHENTICATE"] = lambda command: None if command.count(" ") > 1 else b"+ \r\n"
    server.answers[plain(f"\0alice\0{SECRET}").decode()] = ""
    with server.opened(credentials=credentials) as mailbox, suppress(SectoolError):
        list(mailbox.folders())
    said = b"\n".join(server.said)
    for line in wanted:
        assert line in said


def test_a_secret_that_is_refused_is_shown_nowhere(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    encoded = plain(f"\0alice\0{SECRET}").decode()
    for said in ("no", f"no {SECRET}", f"no {plain(SECRET).decode()}"):
        server.answers["AUTHENTICATE"] = f"TAG NO [AUTHENTICATIONFAILED] {said}\r\n".encode()
        with server.opened(credentials=ALICE) as mailbox, pytest.raises(LoginRefused) as refused:
            list(mailbox.folders())
        shown = (
            f"{refused.value!r} {refused.value.hint} {caplog.text} {mailbox!r} {vars(mailbox)!r}"
        )
        assert SECRET not in shown
        assert encoded not in shown
        assert "alice" in refused.value.message


@pytest.mark.parametrize(("way", "last"), [("XOAUTH2", b""), ("OAUTHBEARER", b"AQ==")])
def test_a_token_that_is_refused_with_a_reason_is_answered_and_told(
    way: str, last: bytes, server: Server
) -> None:
    server.capabilities = f"SASL-IR AUTH={way}"
    server.answers["AUTHENTICATE"] = lambda command: b"+ e30=\r\n"
    server.after_more = b"TAG NO [AUTHENTICATIONFAILED] expired\r\n"
    asked: list[int] = []

    def renew() -> Secret:
        asked.append(1)
        return Secret(SECRET)

    credentials = Credentials("alice", Secret(""), is_token=True, renew=renew)
    with server.opened(credentials=credentials) as mailbox, pytest.raises(LoginRefused) as refused:
        list(mailbox.folders())
    assert "expired" in refused.value.message
    assert (server.said[-1], len(asked)) == (last, 1)


REFUSING: dict[str, tuple[str, Credentials, type[SectoolError]]] = {
    "no password here": ("LOGINDISABLED", ALICE, LoginRefused),
    "nobody for somebody else": ("IMAP4rev1", MASTER, LoginRefused),
    "no token": ("AUTH=PLAIN", TOKEN, LoginRefused),
}


@pytest.mark.parametrize(("capabilities", "credentials", "kind"), REFUSING.values(), ids=REFUSING)
def test_nothing_secret_is_sent_where_no_way_is_good(
    capabilities: str, credentials: Credentials, kind: type[SectoolError], server: Server
) -> None:
    server.capabilities = capabilities
    with server.opened(credentials=credentials) as mailbox, pytest.raises(kind) as refused:
        list(mailbox.folders())
    assert refused.value.hint
    assert not [line for line in server.said if b"CAPABILITY" not in line]


def test_a_server_that_is_only_busy_is_asked_again(server: Server) -> None:
    answers = [b"TAG NO [UNAVAILABLE] later\r\n", b"TAG NO [INUSE] later\r\n"]
    server.answers["AUTHENTICATE"] = lambda _: answers.pop() if answers else None
    with server.opened() as mailbox:
        assert list(mailbox.folders()) == ["INBOX"]
    assert server.connections == 3


def test_a_run_waits_as_long_as_the_server_asks_and_no_longer_than_it_may(server: Server) -> None:
    waits: list[float] = []
    asked = b"TAG NO Request is throttled. Suggested Backoff Time: 20 milliseconds\r\n"
    answers = [asked] * 20

    server.answers["UID SEARCH"] = lambda _: answers.pop() if answers else None
    with server.opened() as mailbox:
        with stopped_by(lambda: waits.append(1), patience=10):
            assert len(list(mailbox.walk("INBOX"))) == 4
        # Of more tries than there would be otherwise.
        assert len(waits) >= 20
        answers[:] = [asked.replace(b" 20 ", b" 11000 ")]
        with stopped_by(lambda: None, patience=10), pytest.raises(ServerUnavailable, match="wait"):
            list(mailbox.walk("INBOX"))


def test_a_silent_server_does_not_keep_a_run_that_is_to_stop(server: Server) -> None:
    server.answers["UID SEARCH"] = b""

    def pressed() -> None:
        if server.said and server.said[-1].endswith(b"UID SEARCH ALL"):
            raise Interrupted("interrupted")

    with server.opened() as mailbox, stopped_by(pressed), pytest.raises(Interrupted):
        list(mailbox.walk("INBOX"))
    # What might still come is not taken for the answer to something else.
    server.answers.clear()
    with server.opened() as mailbox:
        assert len(list(mailbox.walk("INBOX"))) == 4


HERE = MailboxSpecification("imaps", "//alice@h:993/")


def test_a_person_is_asked_for_the_password_of_the_account() -> None:
    asked: list[str] = []

    def ask(name: str) -> str:
        asked.append(name)
        return SECRET

    given = credentials_for(HERE, Account(), ask)
    assert given is not None
    assert (given.user, given.secret.reveal(), asked) == ("alice", SECRET, [HERE.url])
    assert credentials_for(HERE, Account(), None) is None
    assert credentials_for(HERE, Account(), lambda _: "") is None


@pytest.mark.parametrize(
    ("specification", "account"),
    [
        (HERE, Account(token_command="true", password_command="true")),
        (HERE, Account(authuser="a\r\nb", password_command="echo x")),
        (MailboxSpecification("maildir", "/x"), Account(user="alice")),
        (MailboxSpecification("maildir", "/x"), Account(insecure=True)),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    specification: MailboxSpecification, account: Account
) -> None:
    with pytest.raises(UsageError):
        credentials_for(specification, account, None)


def test_a_token_command_is_run_for_each_connection(server: Server, tmp_path: Path) -> None:
    server.capabilities = "SASL-IR AUTH=XOAUTH2"
    count = tmp_path / "count"
    script = tmp_path / "token"
    script.write_text(f"#!/bin/sh\necho x >> {count}\necho token$(wc -l < {count})\n")
    script.chmod(0o700)
    credentials = credentials_for(HERE, Account(token_command=str(script)), None)
    server.cuts[:] = [150, 170]
    with server.opened(credentials=credentials) as mailbox:
        assert list(mailbox.folders()) == ["INBOX"]
    told = [base64.b64decode(line.split()[-1]) for line in server.said if b"XOAUTH2" in line]
    assert len(set(told)) == len(told) > 1


def test_a_worker_is_given_neither_a_connection_nor_a_secret(server: Server) -> None:
    import pickle

    with server.opened() as mailbox:
        access = pickle.loads(pickle.dumps(mailbox.access))
        assert (access.credentials, access.opened) == (None, None)
        assert isinstance(access, Access)


@pytest.mark.rights
@pytest.mark.parametrize("made", ["of another", "open to all", "link", "file"])
def test_mail_goes_into_no_directory_that_somebody_else_made(
    made: str, server: Server, tmp_path: Path
) -> None:
    if made in {"of another", "link"} and os.geteuid() != 0:
        pytest.skip("making what is another user's needs root")
    place = tmp_path / f"sectool-{os.geteuid()}"
    (tmp_path / "there").mkdir(mode=0o700)
    if made == "link":
        place.symlink_to(tmp_path / "there")
        os.chown(place, 65534, 65534, follow_symlinks=False)
        tmp_path.chmod(0o1777)
    elif made == "file":
        place.touch()
    else:
        place.mkdir(mode=0o700)
        if made == "of another":
            os.chown(place, 65534, 65534)
        else:
            place.chmod(0o777)
    with pytest.raises(UnsafeDirectory):
        server.opened()
    assert server.connections == 0
    assert list((tmp_path / "there").iterdir()) == []


def test_what_a_killed_run_left_goes_with_the_next_and_nothing_else(
    server: Server, tmp_path: Path
) -> None:
    with server.opened() as mailbox:
        ahead = mailbox.fetch_ahead(REFS)
        (directory,) = {path.parent for path in tmp_path.rglob("mail-*")}
        held = set(files(tmp_path))
        (directory / "mail-left").write_bytes(b"x")
        (directory / "other").write_bytes(b"x")
        with server.opened():
            assert set(files(tmp_path)) == held
        assert (directory / "other").exists()
        assert ahead.fetch(REFS[1]).content.size == len(MAIL[5])
        ahead.close()


@pytest.mark.rights
def test_a_full_disk_ends_the_run_and_leaves_nothing(
    server: Server, tmp_path: Path, mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", at=full)
    monkeypatch.setattr(tempfile, "tempdir", str(full))
    monkeypatch.setenv("SECTOOL_IMAP_PASSWORD", "secret")
    server.folders["INBOX"] = dict.fromkeys(range(1, 700), b"x" * 300)
    spec = jobs.Scan(
        mailbox=f"imap://alice@localhost:{server.port}/", account=Account(insecure=True), workers=0
    )
    monkeypatch.setattr(download, "PART", 1000)
    assert jobs.run(spec).messages == 699
    server.folders["INBOX"] = {1: b"x" * 500_000}
    with pytest.raises(NoSpace):
        jobs.run(spec)
    assert files(full) == []


# --- TLS ----------------------------------------------------------------------------------------


def test_no_password_goes_over_a_connection_that_anybody_could_read(server: Server) -> None:
    for greeting in (b"* OK hello\r\n", b"* PREAUTH [CAPABILITY STARTTLS] hello\r\n"):
        server.greeting = greeting
        with server.opened(Account()) as mailbox, pytest.raises(NotTrusted, match="TLS"):
            list(mailbox.folders())
    assert not [line for line in server.said if b"AUTH" in line or b"LOGIN" in line]
    assert server.connections == 2


def test_a_mailbox_that_is_open_before_anybody_logs_in_is_not_taken(server: Server) -> None:
    server.greeting = b"* PREAUTH [CAPABILITY IMAP4rev1] hello\r\n"
    with (
        server.opened(Account(insecure=True)) as mailbox,
        pytest.raises(LoginRefused, match="does not say whose"),
    ):
        list(mailbox.folders())
    assert server.said == []


def test_what_is_said_before_tls_is_there_ends_the_connection(server: Server) -> None:
    server.capabilities = "STARTTLS AUTH=PLAIN"
    server.answers["STARTTLS"] = b"TAG OK begin\r\n* CAPABILITY AUTH=PLAIN\r\n"
    with server.opened(Account()) as mailbox, pytest.raises(NotTrusted, match="before TLS"):
        list(mailbox.folders())
    assert server.said[-1].endswith(b"STARTTLS")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes a certificate that signs itself, with its key, for a host."""
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    directory = tmp_path_factory.mktemp("certificates")

    def make(host: str) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(datetime(2000, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2999, 1, 1, tzinfo=UTC))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = directory / f"{host}.pem"
        pem = serialization.Encoding.PEM
        path.write_bytes(
            certificate.public_bytes(pem)
            + key.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return path

    return make


def speaking_tls(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


@pytest.mark.parametrize(
    ("host", "given", "is_let_in"),
    [
        ("localhost", "ca", True),
        ("localhost", "", False),
        ("other.example", "ca", False),
        ("other.example", "insecure", True),
    ],
)
def test_a_server_is_known_by_its_certificate(
    host: str, given: str, is_let_in: bool, certificate: Callable[[str], Path]
) -> None:
    path = certificate(host)
    account = Account(ca_file=path if given == "ca" else None, insecure=given == "insecure")
    server = Server(tls=speaking_tls(path), tls_first=True)
    with server.running(), server.opened(account) as mailbox:
        if is_let_in:
            assert list(mailbox.folders()) == ["INBOX"]
            return
        with pytest.raises(NotTrusted, match="certificate") as refused:
            list(mailbox.folders())
        assert "--ca-file" in refused.value.hint
    assert server.said == []
    assert server.connections == 1


class _Elsewhere:
    """A connection to another machine, on which nothing may be sent."""

    def __init__(self, address: str) -> None:
        self.getpeername = lambda: (address, 143)
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::9", "fe80::9%eth0"])
@pytest.mark.parametrize("tls", [False, True])
def test_a_server_elsewhere_is_refused_with_insecure_before_anything_is_sent(
    address: str, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = _Elsewhere(address)
    monkeypatch.setattr("socket.create_connection", lambda *_: reached)
    with pytest.raises(UsageError, match="--insecure is for a server on this machine") as refused:
        connection.Connection(connection.Endpoint("imap.example.org", 143, tls, insecure=True))
    assert refused.value.exit_code == 2
    assert reached.is_closed
