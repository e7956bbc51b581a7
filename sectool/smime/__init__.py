"""MIME and CMS as bytes: what is encrypted in a message, opened, accepted and put back.

Messages are edited by splicing, never parsed and generated. Knows no store and
no job.
"""

from sectool.mime.limits import DEFAULT_LIMITS, Limits
from sectool.mime.transfer_encoding import Layer
from sectool.smime.finding.find_again import places_of
from sectool.smime.finding.inside import Inside, layer_path, look_inside
from sectool.smime.finding.inventory import Inventory, take_inventory
from sectool.smime.identity import (
    differs_by_envelopes_only,
    header_words,
    identity_of_body,
    identity_of_parts,
)
from sectool.smime.opening.acceptance import accept
from sectool.smime.opening.open_part import OpenedPart, describe_for, find_opening, open_part
from sectool.smime.opening.pushed_content import PushedContent, content_of
from sectool.smime.opening.strict_test import PlaintextWitness, Verdict
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
from sectool.smime.signing.integrity import IntegrityMark, integrity_of
from sectool.smime.signing.signatures import SignatureCheck, check_signature
from sectool.smime.writing.check_plaintext import check_plaintext
from sectool.smime.writing.clear_entity import ClearEntity
from sectool.smime.writing.plaintext_mark import MARK_FIELD, Mark
from sectool.smime.writing.protected_subject import (
    protected_subject,
    with_header_of,
    with_obscured_subject,
    with_protected_subject,
)
from sectool.smime.writing.put_envelope import (
    digest_around,
    outer_header,
    smime_type_of,
    write_spliced,
)
from sectool.smime.writing.put_plaintext import DecryptedPart, write_plaintext

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
    "with_header_of",
    "with_obscured_subject",
    "with_protected_subject",
    "write_plaintext",
    "write_spliced",
]
