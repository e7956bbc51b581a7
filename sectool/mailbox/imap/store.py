"""The store of an IMAP account (RFC 9051, and RFC 3501 where a server has no more).

Reads with EXAMINE and BODY.PEEK alone, over one connection of the run itself: workers are
given what it fetched. Every command may find the connection gone, and opens another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import platform
from array import array
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from sectool.budget import Work, limit_of
from sectool.errors import (
    LoginRefused,
    MailboxError,
    MessageError,
    MessageVanished,
    ReadOnlyMailbox,
    ServerUnavailable,
)
from sectool.locks import Lock, is_held
from sectool.mailbox.access import Access, Account, Ahead, MessageHead
from sectool.mailbox.base import (
    Capabilities,
    Keeps,
    Mailbox,
)
from sectool.mailbox.imap.connection import Connection, Endpoint, Refused
from sectool.mailbox.imap.download import Download, uid_of, validity_of
from sectool.mailbox.imap.encoder import uid_set
from sectool.mailbox.imap.fetched import LAST_UID, Collected, Fetched
from sectool.mailbox.imap.folders import TO_READ, Folder, Folders, list_folders, rights_on
from sectool.mailbox.imap.login import log_in
from sectool.mailbox.imap.opening import OpenFolder, open_folder
from sectool.mailbox.imap.profiles import Profile, recognised
from sectool.mailbox.imap.reader import BadAnswer, Data, Numbers, Status
from sectool.mailbox.imap.spool import private_directory, sweep
from sectool.mailbox.imap.url import account_of
from sectool.message import BytesContent, Listing, MessageRef, StoredMessage

MOST_MESSAGES = 5_000_000
"""In one folder."""

LISTED_AT_ONCE = 1000
"""Messages of a folder that one command tells of."""

_DENIED = "the server does not let it be read"


class AccountReader(Mailbox):
    """One person's account, as far as it is read.

    Args:
        access: where it is, whom the server lets in, and how the server is judged.

    Raises:
        LoginRefused: there are no credentials.
    """

    def __init__(self, access: Access) -> None:
        self.specification = access.specification
        self._access = access
        self.capabilities = Capabilities(writable=True, keeps=Keeps.REWRITTEN, connections=1)
        if access.credentials is None:
            raise LoginRefused(
                f"no password was given for {access.specification.url}",
                hint="--password-file, --password-command, --token-command"
                " or SECTOOL_IMAP_PASSWORD gives it",
            )
        self._credentials = access.credentials
        self._account = access.account or Account()
        _, host, port = account_of(access.specification)
        self._endpoint = Endpoint(
            host,
            port,
            access.specification.kind == "imaps",
            self._account.ca_file,
            self._account.insecure,
        )
        self._directory = private_directory()
        sweep(self._directory)
        self._connection: Connection | None = None
        self._opened: OpenFolder | None = None
        self._profile: Profile | None = None
        """Of the server, once somebody logged in."""
        self._folders = Folders()
        self._denied: dict[bytes, bool] = {}
        """Of the folders that were asked about, whether they may not be read."""
        self._shown: dict[str, frozenset[str]] = {}
        """What each folder showed when it was walked last, where others show it once more."""
        self._begun: Download | None = None
        self._kept: list[Ahead] = []
        self._fetchers: tuple[AccountReader, ...] | None = None

    def _server(self) -> Connection:
        """The connection, logged in."""
        if self._connection is None or not self._connection.is_open:
            self._opened = None
            self._connection = Connection(self._endpoint)
            try:
                log_in(self._connection, self._credentials.renewed())
                self._profile = self._profile or recognised(self._connection)
            except BaseException:
                self._connection.drop()
                raise
        return self._connection

    @property
    def fetchers(self) -> Sequence[Mailbox]:
        if self._fetchers is None:
            others = range(self._account.connections - 1)
            self._fetchers = tuple(type(self)(self._access) for _ in others)
        for fetcher in self._fetchers:
            fetcher.take_over(self)
        return self._fetchers

    def take_over(self, other: AccountReader) -> None:
        """Nobody asks again what another connection was told of the folders and the server."""
        self._folders, self._denied, self._profile = other._folders, other._denied, other._profile

    def close(self) -> None:
        for fetcher in self._fetchers or ():
            fetcher.close()
        for ahead in self._kept:
            ahead.close()
        if self._begun is not None:
            self._begun.close()
        if self._connection is not None:
            self._connection.close()

    # --- who else is at it ----------------------------------------------------------------

    def lock(self) -> AbstractContextManager[object]:
        holder = f"sectool, process {os.getpid()} on {platform.node()}"
        return Lock(self._lock_file, what=f"mailbox {self.specification.url}", holder=holder)

    def is_in_use(self) -> bool:
        return is_held(self._lock_file)

    @property
    def _lock_file(self) -> Path:
        account = "\0".join(map(str, account_of(self.specification)))
        return self._directory / f"account-{hashlib.sha256(account.encode()).hexdigest()}"

    # --- folders --------------------------------------------------------------------------

    def folders(self) -> Iterator[str]:
        server = self._server()
        self._folders = list_folders(server, self._account.skip_folders)
        for folder in list(self._folders.own.values()):
            if self._is_denied(server, folder):
                self._folders.left[folder.name] = _DENIED
                del self._folders.own[folder.name]
        if self._is_for_another and not self._shows_mail(server):
            raise ReadOnlyMailbox(
                f"{self.specification.url} shows no mail to {self._credentials.user}",
                hint="let the master user see the folders (Dovecot: acl_user), or check --user",
            )
        yield from list(self._folders.own)

    def _is_denied(self, server: Connection, folder: Folder) -> bool:
        if folder.wire not in self._denied:
            denied = "ACL" in server.capabilities and not rights_on(server, folder) >= TO_READ
            self._denied[folder.wire] = denied
        return self._denied[folder.wire]

    @property
    def _is_for_another(self) -> bool:
        """Whether somebody else's name lets the run in."""
        return bool(self._credentials.acts_for) or "*" in self._credentials.user

    def _shows_mail(self, server: Connection) -> bool:
        counts: list[object] = []

        def take(response: Data | Numbers | Status) -> None:
            if isinstance(response, Data) and response.name == "STATUS":
                told = response.values[-1]
                counts.extend(told[1::2] if isinstance(told, list) else ())

        for folder in self._folders.own.values():
            with contextlib.suppress(Refused):
                server.ask("STATUS", folder.wire, "(MESSAGES)", take=take)
            if any(count != "0" for count in counts):
                return True
        return False

    def withheld(self, known: Sequence[str], *, has_moved: bool) -> list[str]:
        if not self._folders.own:
            list(self.folders())
        left, own = self._folders.left, self._folders.own
        hides = self._is_for_another and (not has_moved or len(own) < len(known))
        return [
            f"{name} ({left.get(name, 'it is not shown')})"
            for name in known
            if name in left or (hides and name not in own)
        ]

    passed_over_kind = "folders"
    passed_over_hint = "give whoever logs in the rights l and r on them, or leave out --skip-folder"

    @property
    def passed_over(self) -> Sequence[str]:
        left = [f"{name}: {reason}" for name, reason in self._folders.left.items()]
        hides = "" if self._profile is None else self._profile.hides
        return (*left, *([hides] if hides else []))

    # --- reading --------------------------------------------------------------------------

    def _open(self, name: str, *, afresh: bool = False) -> tuple[Connection, int]:
        """A connection on which a folder is open, and its UIDVALIDITY.

        Args:
            name: of the folder.
            afresh: open it again, since what came meanwhile may not be shown before that.

        Raises:
            MailboxError: there is no such folder, or it may not be read.
        """
        server, opened = self._opened_folder(name, afresh=afresh)
        return server, opened.validity

    def _opened_folder(
        self, name: str, *, afresh: bool = False, for_writing: bool = False
    ) -> tuple[Connection, OpenFolder]:
        """The same, with all that the server told of it; where one is to write, for that."""
        server, opened = self._server(), self._opened
        is_open = opened is not None and opened.name == name
        if opened is not None and is_open and not afresh and opened.for_writing >= for_writing:
            return server, opened
        folder = self._folder(name)
        if folder is None:
            raise MailboxError(f"the mailbox has no folder {name}")
        self._opened = None
        try:
            self._opened = open_folder(server, folder, for_writing=for_writing)
        except ServerUnavailable:
            raise
        except MailboxError:
            if not for_writing:
                self._denied[folder.wire] = True
            raise
        return server, self._opened

    def _folder(self, name: str) -> Folder | None:
        if name not in self._folders.own:
            list(self.folders())
        return self._folders.own.get(name)

    def walk(self, folder: str) -> Iterator[Listing]:
        server, validity = self._open(folder, afresh=True)
        uids = all_uids(server)
        repeats = self._folders.own[folder].repeats
        shown: set[str] = set()
        for first in range(0, len(uids), LISTED_AT_ONCE):
            server, now = self._open(folder)
            if now != validity:
                raise ServerUnavailable(f"the folder {folder} was made anew while it was listed")
            for uid, told in self._list(server, uids[first : first + LISTED_AT_ONCE]):
                shown.add(told.identity)
                if repeats and told.identity and self._was_shown(told.identity):
                    continue
                key = f"{validity}:{uid}"
                ref = MessageRef(folder, key)
                # More than a message may have is no size to reckon with.
                size = min(told.size or 0, limit_of(Work.SIZE))
                yield Listing(ref, size, told.flags, key, told.internal_date)
        if not repeats and self._has_repeating:
            self._shown[folder] = frozenset(shown)

    @property
    def _has_repeating(self) -> bool:
        return any(folder.repeats for folder in self._folders.own.values())

    def _was_shown(self, identity: str) -> bool:
        own = self._folders.own
        return any(identity in shown for name, shown in self._shown.items() if name in own)

    def _list(self, server: Connection, uids: Sequence[int]) -> list[tuple[int, Fetched]]:
        told = Collected(set(uids))
        names = {"X-GM-EXT-1": " X-GM-MSGID", "OBJECTID": " EMAILID"}
        identity = next((names[one] for one in names if one in server.capabilities), "")
        items = f"(UID FLAGS INTERNALDATE RFC822.SIZE{identity if self._has_repeating else ''})"
        with contextlib.suppress(Refused):
            server.ask(f"UID FETCH {uids[0]}:{uids[-1]} {items}", take=told.take)
        missing = [uid for uid in uids if uid not in told.messages]
        if missing:
            # Gone since; or the server cannot tell of one, which is then found to be unreadable.
            there = Collected(set(missing))
            with contextlib.suppress(Refused):
                server.ask(f"UID FETCH {uid_set(missing)} (UID)", take=there.take)
            told.messages.update(
                (uid, there.messages[uid]) for uid in missing if uid in there.messages
            )
        return [(uid, told.messages[uid]) for uid in uids if uid in told.messages]

    def fetch_ahead(self, refs: Sequence[MessageRef], most: int | None = None) -> Ahead:
        download = self._begun
        if download is None or (download.refs, download.most) != (tuple(refs), most):
            if download is not None:
                download.close()
            download = self._begun = Download(tuple(refs), most, self._directory)
        before = download.progress
        try:
            for name, several in itertools.groupby(
                sorted(download.waiting()), key=lambda ref: ref.folder
            ):
                self._fetch_from(name, list(several), download)
        except ServerUnavailable as error:
            error.has_progressed = download.progress > before
            raise
        self._begun = None
        return download.ahead

    def _fetch_from(self, name: str, refs: list[MessageRef], download: Download) -> None:
        try:
            server, validity = self._open(name)
        except ServerUnavailable:
            raise
        except MailboxError as error:
            is_gone = name not in {*self.folders(), *self._folders.left}
            kind = MessageVanished if is_gone else MessageError
            download.give_up(refs, kind(error.message))
            return
        here = [ref for ref in refs if validity_of(ref) == validity and uid_of(ref)]
        gone = [ref for ref in refs if ref not in here]
        download.give_up(gone, MessageVanished("the message is no longer there"))
        if here:
            if self._profile is not None:
                download.substitute = self._profile.substitute
            download.fetch(server, here, validity)

    def fetch(self, ref: MessageRef) -> StoredMessage:
        ahead = self.fetch_ahead([ref])
        try:
            found = ahead.fetch(ref)
        except MessageError:
            ahead.close()
            raise
        if isinstance(found.content, BytesContent):
            ahead.close()
        else:
            self._kept.append(ahead)
        return found

    def head(self, ref: MessageRef, most: int) -> MessageHead:
        return self.fetch_ahead([ref], most).head(ref, most)


def all_uids(server: Connection) -> Sequence[int]:
    """The UIDs of the folder that is open, ascending."""
    found = array("Q")

    def take(response: Data | Numbers | Status) -> None:
        if isinstance(response, Numbers):
            found.extend(response.numbers)
        if len(found) > MOST_MESSAGES:
            raise BadAnswer("the server lists too many messages")

    try:
        server.ask("UID SEARCH ALL", take=take)
    except Refused as refused:
        raise MailboxError(f"the server does not list a folder: {refused}") from refused
    each = (uid for uid, _ in itertools.groupby(sorted(found)))
    return array("Q", (uid for uid in each if 0 < uid <= LAST_UID))
