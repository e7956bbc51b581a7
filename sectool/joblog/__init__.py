"""The durable record of every step on every message; the only user of SQLite.

Holds no subjects, no addresses, no key material and no plaintext.
"""

from sectool.joblog.acknowledgements import Acknowledgement
from sectool.joblog.give_ups import Standing
from sectool.joblog.log import JobLog
from sectool.joblog.messages import KEPT, REPLACED, UNREAD
from sectool.joblog.parts import without_address
from sectool.joblog.records import (
    IN_CLEAR,
    UNREACHED,
    CheckpointRecord,
    Examination,
    Finished,
    LayerRecord,
    MessageRecord,
    OriginalRecord,
    PartRecord,
    Purpose,
    Removal,
    ReplacedMessage,
    ReplacementRecord,
    SealableMessage,
    SealablePart,
    Storage,
)

__all__ = [
    "IN_CLEAR",
    "KEPT",
    "REPLACED",
    "UNREACHED",
    "UNREAD",
    "Acknowledgement",
    "CheckpointRecord",
    "Examination",
    "Finished",
    "JobLog",
    "LayerRecord",
    "MessageRecord",
    "OriginalRecord",
    "PartRecord",
    "Purpose",
    "Removal",
    "ReplacedMessage",
    "ReplacementRecord",
    "SealableMessage",
    "SealablePart",
    "Standing",
    "Storage",
    "without_address",
]
