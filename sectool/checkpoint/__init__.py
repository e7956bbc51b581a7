"""Checkpoints and originals: what makes a move possible, and what undoes it."""

from sectool.checkpoint.checkpoints import INCOMING_NAME, CheckpointStore, IncomingCheckpoint
from sectool.checkpoint.files import CheckpointFiles, PlainFiles
from sectool.checkpoint.layout import Checkpoint
from sectool.checkpoint.originals import OriginalStore, OriginalToKeep
from sectool.checkpoint.sealed import SealedFiles, profile_for

__all__ = [
    "INCOMING_NAME",
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
