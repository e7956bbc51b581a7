"""Key histories and the certificates to encrypt to; knows neither mail nor messages."""

from sectool.cms.identifiers import recipient_of as recipient_of
from sectool.keys.certificate_checks import (
    Check as Check,
    Fault as Fault,
    read_acceptance as read_acceptance,
)
from sectool.keys.certificates import public_key_identity as public_key_identity
from sectool.keys.containers import looks_like_key_or_certificate as looks_like_key_or_certificate
from sectool.keys.files import exposed_secrets as exposed_secrets, exposure as exposure
from sectool.keys.history import (
    HeldKey as HeldKey,
    HistoryEntry as HistoryEntry,
    KeyHistory as KeyHistory,
    KeyMaterial as KeyMaterial,
    authority_names as authority_names,
    identifiers_of as identifiers_of,
    newest_entry as newest_entry,
)
from sectool.keys.loading import load_key_history as load_key_history
from sectool.keys.passphrases import (
    Ask as Ask,
    answer_of_command as answer_of_command,
    first_line as first_line,
    read_text as read_text,
)
from sectool.keys.people import Person as Person, keys_of as keys_of, people_of as people_of
from sectool.keys.problems import KeyProblem as KeyProblem, ProblemKind as ProblemKind
from sectool.keys.recipients import (
    NewRecipient as NewRecipient,
    all_addresses as all_addresses,
    is_fit as is_fit,
    load_new_recipients as load_new_recipients,
    override as override,
    override_all as override_all,
)
from sectool.keys.specification import KeySpecification as KeySpecification
from sectool.keys.token_access import close_sessions as close_sessions
from sectool.keys.token_uri import is_token_uri as is_token_uri
