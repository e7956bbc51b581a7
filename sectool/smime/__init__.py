"""MIME and CMS as bytes: what is encrypted in a message, opened, accepted and put back.

Messages are edited by splicing, never parsed and generated. Knows no store and
no job.
"""

from sectool.smime.acceptance import accept
from sectool.smime.clear import ClearEntity
from sectool.smime.identity import (
    differs_by_envelopes_only,
    header_words,
    identity_of_body,
    identity_of_parts,
)
from sectool.smime.inside import Inside, layer_path, look_inside
from sectool.smime.integrity import IntegrityMark, integrity_of
from sectool.smime.inventory import Inventory, take_inventory
from sectool.smime.limits import DEFAULT_LIMITS, Limits
from sectool.smime.mark import MARK_FIELD, Mark
from sectool.smime.opening import OpenedPart, describe_for, find_opening, open_part
from sectool.smime.parts import (
    TO_OPEN_NESTED,
    ClearSelection,
    CoveredPart,
    EncryptedPart,
    PartSelection,
    PartSource,
    Place,
    Placement,
    Unreached,
    WholeEntity,
    part_word,
    root_entity,
)
from sectool.smime.places import places_of
from sectool.smime.plaintext import DecryptedPart, write_plaintext
from sectool.smime.plaintext_proof import check_plaintext
from sectool.smime.protected import (
    protected_subject,
    with_obscured_subject,
    with_protected_subject,
)
from sectool.smime.pushed import PushedContent, content_of
from sectool.smime.signatures import SignatureCheck, check_signature
from sectool.smime.splice import digest_around, outer_header, smime_type_of, write_spliced
from sectool.smime.transfer import Layer
from sectool.smime.witness import PlaintextWitness, Verdict

__all__ = [
    "DEFAULT_LIMITS",
    "MARK_FIELD",
    "TO_OPEN_NESTED",
    "ClearEntity",
    "ClearSelection",
    "CoveredPart",
    "DecryptedPart",
    "EncryptedPart",
    "Inside",
    "IntegrityMark",
    "Inventory",
    "Layer",
    "Limits",
    "Mark",
    "OpenedPart",
    "PartSelection",
    "PartSource",
    "Place",
    "Placement",
    "PlaintextWitness",
    "PushedContent",
    "SignatureCheck",
    "Unreached",
    "Verdict",
    "WholeEntity",
    "accept",
    "check_plaintext",
    "check_signature",
    "content_of",
    "describe_for",
    "differs_by_envelopes_only",
    "digest_around",
    "find_opening",
    "header_words",
    "identity_of_body",
    "identity_of_parts",
    "integrity_of",
    "layer_path",
    "look_inside",
    "open_part",
    "outer_header",
    "part_word",
    "places_of",
    "protected_subject",
    "root_entity",
    "smime_type_of",
    "take_inventory",
    "with_obscured_subject",
    "with_protected_subject",
    "write_plaintext",
    "write_spliced",
]
