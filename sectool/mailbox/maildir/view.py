"""The files of a folder of a Maildir: ``new`` and ``cur``, and flags behind ``:2,``.

Dovecot guards its own readings by ``dovecot-uidlist.lock``. That lock is not
taken here: deliveries wait for it, so a scan must not hold it, and a run that
is killed would leave it behind for two minutes. Nothing here needs it. A new
copy appears under a name no program knows, an old one is unlinked; only where
flags changed during the replacement is a visible file renamed, as any Maildir
program does it that has no such lock.
"""

from __future__ import annotations

from functools import lru_cache

from sectool.mailbox.files.folders import Folder, OpenFolders
from sectool.mailbox.files.view import Entry, FolderView, WhyNot
from sectool.mailbox.maildir.names import FlagLetters, delivery_order, split_name
from sectool.message import Flags, open_regular_file

KEYWORDS_FILE = "dovecot-keywords"
KEYWORDS_SIZE_LIMIT = 64 * 1024

WITHOUT_KEYWORDS = FlagLetters()
"""For letters of the flags that every folder has: no file is looked at for them."""

_HIDDEN = WhyNot("names with a leading dot are no messages", may_be_mail=False)


@lru_cache(maxsize=256)
def _system_flags(letters: str) -> Flags:
    return WITHOUT_KEYWORDS.flags(letters)


class MaildirView(FolderView):
    """The files of one folder of a Maildir."""

    parts = ("new", "cur")

    def __init__(self, folder: Folder, directories: OpenFolders) -> None:
        super().__init__(folder, directories)
        self._letters = FlagLetters()
        self._letters_seen = (0, 0)

    def base_name(self, name: str) -> str:
        return split_name(name)[0]

    def why_no_message(self, name: str) -> WhyNot | None:
        return _HIDDEN if name.startswith(".") else None

    def order(self, key: str) -> object:
        return delivery_order(key)

    # --- flags -----------------------------------------------------------------

    def letters_of(self, entry: Entry) -> str:
        return split_name(entry.name)[1] if entry.part == "cur" else ""  # in new it has none

    def flags(self, letters: str) -> Flags:
        has_keywords = any(map(str.islower, letters))
        return self._letters_now().flags(letters) if has_keywords else _system_flags(letters)

    def letters(self, flags: Flags) -> str:
        """The letters for flags in this folder now."""
        return (self._letters_now() if flags.keywords else WITHOUT_KEYWORDS).letters(flags)

    def _letters_now(self) -> FlagLetters:
        try:
            path = self.directories.open(self.folder) / KEYWORDS_FILE
            status = path.lstat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen != self._letters_seen:
                with open_regular_file(path) as stream:
                    self._letters = FlagLetters.parse(stream.read(KEYWORDS_SIZE_LIMIT))
                self._letters_seen = seen
        except OSError:
            self._letters = FlagLetters()
            self._letters_seen = (0, 0)
        return self._letters
