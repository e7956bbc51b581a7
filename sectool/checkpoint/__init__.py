"""Checkpoints and originals: what makes a move possible, and what undoes it."""

from sectool.checkpoint.checkpoints import CheckpointStore, IncomingCheckpoint
from sectool.checkpoint.files import CheckpointFiles, PlainFiles
from sectool.checkpoint.layout import Checkpoint
from sectool.checkpoint.originals import OriginalStore, OriginalToKeep
from sectool.checkpoint.sealed import SealedFiles, profile_for

__all__ = [
    "Checkpoint",
    "CheckpointFiles",
    "CheckpointStore",
    "IncomingCheckpoint",
    "OriginalStore",
    "OriginalToKeep",
    "PlainFiles",
    "SealedFiles",
    "profile_for",
]
