"""Every error sectool raises, with the exit code of the command contract.

Errors split first by reach: a ``MessageError`` costs one message and the run
goes on; a ``MailboxError`` or ``RunError`` ends the run. Each has a grade,
``again``: whether the same would do after a moment, later, or never.
``exit_code`` and ``hint`` are what the command line shows; nothing below
``cli`` prints. ``TypeError`` and ``ValueError`` are left for a caller's bug.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import ClassVar


class Again(Enum):
    """When what failed is worth another try."""

    NOW = auto()
    """After a moment, by the run itself."""
    LATER = auto()
    """By the next run of the same command."""
    NEVER = auto()
    """Not before somebody has changed what the error names."""


class SectoolError(Exception):
    """Root of all errors of this package.

    Args:
        message: what is wrong, lower case, without a full stop. Never holds
            plaintext, a passphrase or key material.
        hint: what the person can do about it, one line; empty when nothing
            helps.
    """

    exit_code: ClassVar[int] = 1
    summary: ClassVar[str] = "failed"
    """What the exit code means, as ``docs/exit-codes.md`` lists it."""
    again: ClassVar[Again] = Again.LATER

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        # A keyword-only argument does not survive the default pickling, and
        # errors cross from workers to the parent.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(cls: type[SectoolError], message: str, hint: str) -> SectoolError:
    return cls(message, hint=hint)


# --- one message: recorded with its reason, the run goes on ------------------


class MessageError(SectoolError):
    """Costs one message; it stays untouched and is counted with its reason."""

    exit_code = 3
    summary = "finished, but some messages were not done"


class MalformedMessage(MessageError):
    """The message or its CMS is damaged or breaks a rule that has no safe reading."""

    again = Again.NEVER


class UnsupportedMessage(MessageError):
    """The message is whole, but needs something that sectool does not do."""

    again = Again.NEVER


class LimitExceeded(MalformedMessage):
    """A bound on depth, size or count of hostile input was reached."""


class BudgetExceeded(UnsupportedMessage):
    """The message asks for more work than one message may; its reason names the limit."""


class MissingKey(MessageError):
    """No key of the history is named by the recipients of the message."""

    again = Again.NEVER


class DecryptionFailed(MessageError):
    """Padding, tag, key or content did not fit.

    One type and one text for every such failure: telling them apart would
    make an oracle (Bleichenbacher, Vaudenay).
    """

    again = Again.NEVER
    TEXT: ClassVar[str] = "the content does not decrypt with the key its recipient names"

    def __init__(self, message: str = TEXT, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)


class NotAccepted(MessageError):
    """It opened, but is neither authenticated nor certainly mail: state ``review``."""

    again = Again.NEVER


class MessageChanged(MessageError):
    """The stored copy is not the one that was read; nothing was removed."""


class MessageVanished(MessageError):
    """The stored copy is gone: the user or a server acted meanwhile."""


# --- one mailbox -------------------------------------------------------------


class MailboxError(SectoolError):
    """Ends the work on one mailbox."""


class NoSuchMailbox(MailboxError):
    """There is no mailbox at that place, or of a kind sectool does not read."""

    exit_code = 10
    summary = "no such mailbox"
    again = Again.NEVER


class NotThisMailbox(MailboxError):
    """The mailbox is not the one the job was begun on."""

    exit_code = 14
    summary = "not this job's mailbox"
    again = Again.NEVER


class ServerUnavailable(MailboxError):
    """The server cannot be reached or asks to come back later.

    What raises it may have done what was asked all the same: the answer was lost.

    Args:
        message: as of every error.
        hint: as of every error.
        wait: seconds that the server asks to wait; None: it does not say.

    Attributes:
        has_progressed: whether some of what was asked came, and need not be asked for again.
    """

    exit_code = 18
    summary = "server unreachable or throttling, try again later"
    again = Again.NOW

    def __init__(self, message: str, *, hint: str = "", wait: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.wait = wait
        self.has_progressed = False


class LoginRefused(MailboxError):
    """The server does not take the name and password."""

    exit_code = 19
    summary = "login refused"
    again = Again.NEVER


class ReadOnlyMailbox(MailboxError):
    """The mailbox can be read, but not written."""

    exit_code = 20
    summary = "mailbox is read-only"
    again = Again.NEVER


# --- the run -----------------------------------------------------------------


class RunError(SectoolError):
    """Ends the run; the same command resumes once the cause is gone."""


class UsageError(RunError):
    """The command was asked for something it cannot mean."""

    exit_code = 2
    summary = "usage"
    again = Again.NEVER


class Locked(RunError):
    """Another run holds the job or the mailbox."""

    exit_code = 11
    summary = "job or mailbox locked by another run"


class PassphraseError(RunError):
    """A key file's passphrase is wrong or missing, and no other key is left."""

    exit_code = 12
    summary = "wrong or missing passphrase, or a key file that stays shut while mail needs a key"
    again = Again.NEVER


class JobLogDamaged(RunError):
    """The job log is not one, or fails its integrity check."""

    exit_code = 13
    summary = "job log damaged"
    again = Again.NEVER


class CertificateUnusable(RunError):
    """A new certificate must not be encrypted to."""

    exit_code = 15
    summary = "new certificate unusable"
    again = Again.NEVER


class CheckpointDamaged(RunError):
    """A checkpoint or original is missing, or not the bytes the log knows."""

    exit_code = 16
    summary = "a checkpoint or original is missing or damaged"
    again = Again.NEVER


class NoSpace(RunError):
    """The disk or a quota is full."""

    exit_code = 17
    summary = "not enough space or quota"


class JobLogVersion(RunError):
    """The job log was written by a sectool that is newer, or that was never released."""

    exit_code = 21
    summary = "job log of another version"
    again = Again.NEVER


class UnsafeDirectory(RunError):
    """Somebody else could change the job directory, or what a path leads to."""

    exit_code = 22
    summary = "unsafe directory"
    again = Again.NEVER


class Interrupted(RunError):
    """The person (SIGINT) or the system (SIGTERM, SIGHUP) asked the run to stop."""

    exit_code = 130
    summary = "interrupted"


class Terminated(Interrupted):
    """SIGTERM arrived, or SIGHUP, as when a terminal or a connection is closed."""

    exit_code = 143
    summary = "terminated"


def reason_of(error: OSError) -> str:
    """What the system says of an error, in lower case, for the middle of a message."""
    return (error.strerror or type(error).__name__).lower()


def why_unread(error: OSError | MemoryError | RecursionError) -> str:
    """The reason of a message that could not be read through; it is tried again."""
    if isinstance(error, OSError):
        return f"it cannot be read: {reason_of(error)}"
    return "it needs more memory than a message may take"
