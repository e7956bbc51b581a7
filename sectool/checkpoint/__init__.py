"""Checkpoints and originals: what makes a move possible, and what undoes it."""

from sectool.checkpoint.checkpoints import Checkpoint, CheckpointStore, IncomingCheckpoint
from sectool.checkpoint.originals import OriginalStore, OriginalToKeep

__all__ = [
    "Checkpoint",
    "CheckpointStore",
    "IncomingCheckpoint",
    "OriginalStore",
    "OriginalToKeep",
]
