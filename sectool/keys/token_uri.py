"""URIs that name keys on a token (RFC 7512).

A PIN is no part of one here: ``pin-value`` is refused, since arguments can be
read by everyone on the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, unquote_to_bytes

from sectool.errors import UsageError
from sectool.values import dataclass

SCHEME = "pkcs11:"

_HINT = "such as: pkcs11:token=NAME?module-path=/usr/lib/softhsm/libsofthsm2.so"


@dataclass(frozen=True, slots=True)
class TokenURI:
    """Which module, token and keys are meant; None: any."""

    token: str | None = None
    """Label of the token."""
    manufacturer: str | None = None
    serial: str | None = None
    model: str | None = None
    slot_id: int | None = None
    object: str | None = None
    """Label of the key."""
    id: bytes | None = None
    """``CKA_ID`` of the key."""
    module_path: str | None = None
    module_name: str | None = None
    pin_source: str | None = None
    """File whose first line is the PIN."""

    def __str__(self) -> str:
        """The part that names token and key, without the query."""
        texts = {
            "token": self.token,
            "manufacturer": self.manufacturer,
            "serial": self.serial,
            "model": self.model,
            "slot-id": None if self.slot_id is None else str(self.slot_id),
            "object": self.object,
        }
        parts = [f"{name}={quote(text, safe=' ')}" for name, text in texts.items() if text]
        if self.id is not None:
            parts.append("id=" + "".join(f"%{octet:02x}" for octet in self.id))
        return SCHEME + ";".join(parts)


def is_token_uri(text: str) -> bool:
    """Whether this names keys on a token, and not a file."""
    return text.startswith(SCHEME)


def parse_token_uri(text: str) -> TokenURI:
    """Reads a ``pkcs11:`` URI.

    Raises:
        UsageError: it is none, has an attribute twice or one that is not known, or
            holds a PIN; the text is not repeated.
    """
    path, _, query = text.removeprefix(SCHEME).partition("?")
    values: dict[str, str | bytes | int] = {}
    for attributes, separator, known in ((path, ";", _PATH), (query, "&", _QUERY)):
        for attribute in filter(None, attributes.split(separator)):
            name, equals, value = attribute.partition("=")
            _check(name, has_value=bool(equals), is_known=name in known)
            field, read = known[name]
            if field in values:
                raise UsageError(f"a pkcs11: URI has {name} twice", hint=_HINT)
            values[field] = _read(name, read, value)
    values.pop("type", None)
    return TokenURI(**values)  # type: ignore[arg-type]  # the readers give each field its type


def _check(name: str, *, has_value: bool, is_known: bool) -> None:
    if name == "pin-value":
        raise UsageError(
            "a PIN does not belong into a pkcs11: URI, where others see it",
            hint="use pin-source=FILE, --pin-file, SECTOOL_PIN, or wait to be asked",
        )
    if not is_known or not has_value:
        shown = name if name.replace("-", "").isalnum() else "something"
        raise UsageError(f"a pkcs11: URI has {shown}, which is not known", hint=_HINT)


def _read(name: str, read: Callable[[bytes], str | bytes | int], value: str) -> str | bytes | int:
    try:
        return read(unquote_to_bytes(value))
    except ValueError as error:
        raise UsageError(f"the {name} of a pkcs11: URI makes no sense", hint=_HINT) from error


def _text(value: bytes) -> str:
    return value.decode()


def _type(value: bytes) -> str:
    if value != b"private":
        raise ValueError
    return value.decode()


def _file(value: bytes) -> str:
    """A path, or a ``file:`` URI; programs are not run."""
    text = value.decode()
    if text.startswith("|"):
        raise ValueError
    if not text.startswith("file:"):
        return text
    return "/" + text.removeprefix("file:").lstrip("/")


_Reader = tuple[str, Callable[[bytes], str | bytes | int]]
_PATH: dict[str, _Reader] = {
    "token": ("token", _text),
    "manufacturer": ("manufacturer", _text),
    "serial": ("serial", _text),
    "model": ("model", _text),
    "slot-id": ("slot_id", int),
    "object": ("object", _text),
    "id": ("id", bytes),
    "type": ("type", _type),
}
_QUERY: dict[str, _Reader] = {
    "module-path": ("module_path", _file),
    "module-name": ("module_name", _text),
    "pin-source": ("pin_source", _file),
}
