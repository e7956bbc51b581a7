"""Sessions on tokens: the module is loaded, the token found, and the PIN given once (PKCS #11).

A wrong PIN is never tried again, since a token locks itself after a few. Each
process logs in for itself, once, however many keys it uses.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from sectool.errors import PassphraseError, RunError, UsageError
from sectool.keys.passphrases import Ask, read_text
from sectool.keys.specification import KeySpecification
from sectool.keys.token_uri import TokenURI
from sectool.values import dataclass

PIN_VARIABLE = "SECTOOL_PIN"
MODULE_VARIABLE = "SECTOOL_PKCS11_MODULE"

_MODULE_FOLDERS = ("/usr/lib/pkcs11", "/usr/lib/*/pkcs11", "/usr/lib64/pkcs11", "/usr/lib/*")
_PROXY = "p11-kit-proxy.so"
"""Of p11-kit: shows the tokens of all modules that the system knows."""
_PIN_HINT = "give it with pin-source=FILE in the URI, --pin-file, or SECTOOL_PIN"
_RESUMES = "see that it is there and works; the same command resumes"


@dataclass(frozen=True, slots=True)
class TokenAccess:
    """The way to one token, as a value that pickles; a secret."""

    uri: TokenURI
    pin: str | None = field(repr=False)
    """None: the token asks for none, or has a keypad of its own."""
    was_right: bool = False
    """Whether the token took the PIN before."""

    def session(self) -> Any:
        """An open session with the user logged in, the same one each time in this process.

        Raises:
            UsageError: module or token are not there.
            PassphraseError: the PIN is wrong or missing.
            RunError: the token does not work, or has no session left.
        """
        place = replace(self.uri, object=None, id=None, pin_source=None)
        if place not in _sessions:
            _sessions[place] = _open(self)
        return _sessions[place]


_sessions: dict[TokenURI, Any] = {}


def close_sessions() -> None:
    """Leaves all tokens, so that their sessions are free for others; whoever needs one opens it."""
    while _sessions:
        import pkcs11  # noqa: PLC0415

        _, session = _sessions.popitem()
        with suppress(pkcs11.PKCS11Error):
            session.close()


def open_token(uri: TokenURI, specification: KeySpecification, ask: Ask | None) -> TokenAccess:
    """Finds a token and logs in, with the first PIN that is given anywhere.

    Args:
        uri: which one.
        specification: names the file with the PIN.
        ask: asks a person for the PIN, once; None where nobody is there.

    Raises:
        UsageError, PassphraseError, RunError: as ``TokenAccess.session``.
    """
    from pkcs11 import TokenFlag  # noqa: PLC0415

    flags = _find(uri).flags
    pin = None
    if flags & TokenFlag.LOGIN_REQUIRED:
        pin = _given_pin(uri, specification)
        if pin is None and not flags & TokenFlag.PROTECTED_AUTHENTICATION_PATH:
            pin = ask(str(uri)) if ask is not None else None
            if not pin:
                raise PassphraseError(f"{uri} needs a PIN", hint=_PIN_HINT)
    access = TokenAccess(uri, pin)
    access.session()
    return replace(access, was_right=True)


def session_limit(access: TokenAccess) -> int | None:
    """How many sessions the token has for one application at a time; None: as many as asked for."""
    info = _TokenInfo()
    with _told(str(access.uri)):
        slot = access.session().token.slot.slot_id
    try:
        code = ctypes.CDLL(_module(access.uri)).C_GetTokenInfo(
            ctypes.c_ulong(slot), ctypes.byref(info)
        )
    except (OSError, AttributeError):
        return None
    unlimited = {0, ctypes.c_ulong(-1).value}
    return None if code or info.maximum_sessions in unlimited else int(info.maximum_sessions)


class _TokenInfo(ctypes.Structure):
    """CK_TOKEN_INFO, which python-pkcs11 shows only in part."""

    _fields_ = (
        ("names", ctypes.c_char * (32 + 32 + 16 + 16)),
        ("flags", ctypes.c_ulong),
        ("maximum_sessions", ctypes.c_ulong),
        ("rest", ctypes.c_ulong * 8),
        ("versions_and_time", ctypes.c_char * (2 + 2 + 16)),
    )


def _given_pin(uri: TokenURI, specification: KeySpecification) -> str | None:
    path = specification.pin_file if uri.pin_source is None else Path(uri.pin_source)
    if path is not None:
        return read_text(path, "the PIN file").partition("\n")[0].removesuffix("\r")
    return os.environ.get(PIN_VARIABLE)


def _module(uri: TokenURI) -> str:
    """Path of the PKCS#11 module."""
    named = uri.module_path or (None if uri.module_name else os.environ.get(MODULE_VARIABLE))
    if named is not None and not Path(named).is_absolute():
        # A loader takes it from the working directory, which may belong to anybody.
        raise UsageError(
            f"the PKCS#11 module {named} is not an absolute path",
            hint="write the whole path of the shared library that came with the token",
        )
    if named is not None and not Path(named).is_dir():
        return named
    folders = _MODULE_FOLDERS if named is None else (named,)
    file_names = [_PROXY]
    if uri.module_name:
        file_names = [f"{uri.module_name}.so", f"lib{uri.module_name}.so"]
    for folder in folders:
        for file_name in file_names:
            for path in sorted(Path("/").glob(f"{folder.lstrip('/')}/{file_name}")):
                return str(path)
    raise UsageError(
        f"there is no PKCS#11 module for {uri}",
        hint="add ?module-path=/usr/lib/… to the URI: the shared library that came with the token",
    )


def _find(uri: TokenURI) -> Any:
    try:
        import pkcs11  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            "keys on a token need python-pkcs11", hint="pip install 'sectool[pkcs11]'"
        ) from error
    module = _module(uri)
    try:
        library = pkcs11.lib(module)
    except (pkcs11.PKCS11Error, OSError, RuntimeError) as error:
        raise UsageError(
            f"the PKCS#11 module {module} cannot be loaded",
            hint="module-path names the shared library that came with the token",
        ) from error
    tokens = []
    with _told(str(uri)):
        for slot in library.get_slots(token_present=True):
            with suppress(pkcs11.TokenNotRecognised, pkcs11.TokenNotPresent):
                tokens.append(slot.get_token())
        found = [token for token in tokens if _is_meant(token, uri)]
    if len(found) == 1:
        return found[0]
    labels = ", ".join(sorted({token.label for token in tokens if token.label})) or "none"
    if found:
        raise UsageError(f"{len(found)} tokens are {uri}", hint="add the serial of the one meant")
    raise UsageError(f"there is no token {uri}", hint=f"tokens at hand: {labels}")


def _is_meant(token: Any, uri: TokenURI) -> bool:
    from pkcs11 import TokenFlag  # noqa: PLC0415

    if not token.flags & TokenFlag.TOKEN_INITIALIZED:
        return False
    wanted = (
        (token.label, uri.token),
        (token.manufacturer_id, uri.manufacturer),
        (token.model, uri.model),
        (token.serial.decode("latin-1"), uri.serial),
        (token.slot.slot_id, uri.slot_id),
    )
    return all(asked is None or asked == has for has, asked in wanted)


def _open(access: TokenAccess) -> Any:
    import pkcs11  # noqa: PLC0415

    token = _find(access.uri)
    if access.pin is not None:
        _check_tries(token.flags, access)
    pin: Any = access.pin
    if pin is None and token.flags & pkcs11.TokenFlag.PROTECTED_AUTHENTICATION_PATH:
        pin = pkcs11.PROTECTED_AUTH
    with _told(str(access.uri)):
        try:
            return token.open(user_pin=pin)
        except (pkcs11.UserAlreadyLoggedIn, pkcs11.AnotherUserAlreadyLoggedIn):
            return token.open()
        except pkcs11.SessionCount as error:
            raise RunError(
                f"{access.uri} has no session left", hint="give it fewer with --workers 1"
            ) from error
        except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange) as error:
            raise PassphraseError(
                f"the PIN of {access.uri} is wrong",
                hint="it was tried once and is not tried again, so that the token is not locked",
            ) from error
        except (pkcs11.PinLocked, pkcs11.PinExpired, pkcs11.UserPinNotInitialized) as error:
            raise PassphraseError(
                f"the PIN of {access.uri} is locked, expired or not set",
                hint="the program that came with the token can set it anew",
            ) from error


def _check_tries(flags: int, access: TokenAccess) -> None:
    """A last try is left to a person with the token's own program.

    Where the PIN was right and now is not, each worker in turn would waste a try.
    """
    from pkcs11 import TokenFlag  # noqa: PLC0415

    spent = TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED
    if access.was_right:
        spent |= TokenFlag.USER_PIN_COUNT_LOW
    if flags & spent:
        raise PassphraseError(
            f"wrong PINs were given to {access.uri}, and no more are tried",
            hint="log in once with another program; then this one tries again",
        )


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Whatever a token fails with ends the run with one line: it says nothing of the mail."""
    import pkcs11  # noqa: PLC0415

    try:
        yield
    except pkcs11.PKCS11Error as error:
        raise token_failed(name, error) from error


def token_failed(name: str, error: Exception) -> RunError:
    """The token does not do what it did before."""
    return RunError(f"{name} does not work: {type(error).__name__}", hint=_RESUMES)
