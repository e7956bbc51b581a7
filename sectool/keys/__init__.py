"""Key histories and the certificates to encrypt to; knows neither mail nor messages."""

from sectool.keys.authorities import authority_names
from sectool.keys.certificate_checks import Check, Fault, read_acceptance
from sectool.keys.certificates import public_key_identity
from sectool.keys.containers import looks_like_key_or_certificate
from sectool.keys.files import exposed_secrets, exposure
from sectool.keys.history import (
    HeldKey,
    HistoryEntry,
    KeyHistory,
    KeyMaterial,
    identifiers_of,
    newest_entry,
    recipient_of,
)
from sectool.keys.loading import load_key_history
from sectool.keys.passphrases import Ask
from sectool.keys.people import Person, keys_of, people_of
from sectool.keys.problems import KeyProblem, ProblemKind
from sectool.keys.recipients import (
    NewRecipient,
    all_addresses,
    is_fit,
    load_new_recipients,
    override,
    override_all,
)
from sectool.keys.specification import KeySpecification
from sectool.keys.token_access import close_sessions
from sectool.keys.token_uri import is_token_uri

__all__ = [
    "Ask",
    "Check",
    "Fault",
    "HeldKey",
    "HistoryEntry",
    "KeyHistory",
    "KeyMaterial",
    "KeyProblem",
    "KeySpecification",
    "NewRecipient",
    "Person",
    "ProblemKind",
    "all_addresses",
    "authority_names",
    "close_sessions",
    "exposed_secrets",
    "exposure",
    "identifiers_of",
    "is_fit",
    "is_token_uri",
    "keys_of",
    "load_key_history",
    "load_new_recipients",
    "looks_like_key_or_certificate",
    "newest_entry",
    "override",
    "override_all",
    "people_of",
    "public_key_identity",
    "read_acceptance",
    "recipient_of",
]
