"""Where the checkpoints of a job lie, and whether they are plain or sealed to certificates."""

from __future__ import annotations

from pathlib import Path

from sectool import cms
from sectool.checkpoint import Checkpoint, CheckpointStore, SealedFiles
from sectool.errors import CheckpointDamaged
from sectool.joblog import CheckpointRecord, JobLog, Storage
from sectool.keys import KeyHistory, KeyMaterial, NewRecipient
from sectool.outcome import ContentDigest
from sectool.values import dataclass

SEALED_TO = "sealed-to"
"""Value of the job: fingerprints of the certificates its checkpoints are sealed to,
with a space between them; empty for plain ones, and absent before the first."""


@dataclass(frozen=True, slots=True)
class CheckpointPlace:
    """How the checkpoints of one job are written and read; travels to the workers."""

    directory: Path
    sealed_to: tuple[str, ...] = ()
    """SHA-256 fingerprints of certificates, in order; empty: they are plain."""
    recipients: tuple[NewRecipient, ...] = ()
    """Those certificates, where checkpoints are written."""
    keys: KeyMaterial | None = None
    """Private keys that open them, where they are opened."""

    @property
    def storage(self) -> Storage:
        """What the log says of a checkpoint that lies here."""
        return Storage.SEALED if self.sealed_to else Storage.PLAIN

    @property
    def files(self) -> SealedFiles | None:
        """The way in which sealed ones are kept; None: they are plain."""
        if not self.sealed_to:
            return None
        recipients = [cms.Recipient(each.certificate) for each in self.recipients]
        if self.keys is None:
            return SealedFiles(recipients)
        keys = KeyHistory.from_material(self.keys)
        return SealedFiles(recipients, keys, keys.unnamed_keys)

    def store(self) -> CheckpointStore:
        """The checkpoints themselves."""
        return CheckpointStore(self.directory, self.files)


def fixed_recipients(log: JobLog) -> tuple[str, ...] | None:
    """To whom the checkpoints of a job are sealed; None before the first is written.

    Returns:
        Fingerprints in order; none where they are plain.
    """
    value = log.value(SEALED_TO)
    if value is not None:
        return tuple(value.split())
    return None


def header_of(checkpoint: Checkpoint, known: CheckpointRecord) -> bytes:
    """The header that lies with a plaintext, held against the log.

    Raises:
        CheckpointDamaged: it is another one.
    """
    if known.header_sha256 != checkpoint.header_sha256:
        raise not_as_known(known.content_digest)
    return checkpoint.outer_header


def not_as_known(content_digest: ContentDigest) -> CheckpointDamaged:
    """The error for a checkpoint that holds something else than was decrypted."""
    return CheckpointDamaged(
        f"the checkpoint {content_digest[:16]}… is not what the job log knows",
        hint="restore it from a backup, or decrypt again with the old keys",
    )
