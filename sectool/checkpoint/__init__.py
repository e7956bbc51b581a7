"""Checkpoints and originals: what makes a move possible, and what undoes it."""

from sectool.checkpoint.checkpoints import (
    INCOMING_NAME as INCOMING_NAME,
    CheckpointStore as CheckpointStore,
    IncomingCheckpoint as IncomingCheckpoint,
)
from sectool.checkpoint.layout import Checkpoint as Checkpoint
from sectool.checkpoint.originals import (
    KeptOriginals as KeptOriginals,
    OriginalStore as OriginalStore,
    OriginalToKeep as OriginalToKeep,
)
from sectool.checkpoint.sealed import SealedFiles as SealedFiles, profile_for as profile_for
