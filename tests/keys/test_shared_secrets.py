"""A table of shared keys and passwords: every form a person writes, and no secret in an error."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from sectool.cms import SharedSecrets
from sectool.errors import UsageError
from sectool.keys import KeySpecification, load_key_history
from sectool.keys.loading import load_shared_secrets

KEY = bytes(range(16))
BASE64 = base64.b64encode(KEY).decode()

ROWS: dict[str, tuple[str, SharedSecrets]] = {
    "hexadecimal": (f"key,6c697374,{KEY.hex()}\n", SharedSecrets({b"list": KEY})),
    "base64": (f"key,6c697374,{BASE64}\r\n", SharedSecrets({b"list": KEY})),
    "identifier as text": (f"key,text:list,{BASE64}\n", SharedSecrets({b"list": KEY})),
    "no identifier": (f"key,,{BASE64}\n", SharedSecrets(unnamed_keys=(KEY,))),
    "password": ("password,,open sesame\n", SharedSecrets(passwords=(b"open sesame",))),
    "password with commas": ("password,,a,b\n", SharedSecrets(passwords=(b"a,b",))),
    "quoted password": ('Password,,"a,""b"""\n', SharedSecrets(passwords=(b'a,"b"',))),
    "password of any letters": ("password,,Grüße\n", SharedSecrets(passwords=("Grüße".encode(),))),
    "semicolons": (
        f'# keys\nkey;6c697374;{BASE64}\n"password";;"a,b"\n',
        SharedSecrets({b"list": KEY}, passwords=(b"a,b",)),
    ),
    "comments and blank lines": (
        f"# keys\n\nkey,6c697374,{BASE64}\nkey,6C697374,{KEY.hex()}\n",
        SharedSecrets({b"list": KEY}),
    ),
}


@pytest.mark.parametrize(("table", "expected"), ROWS.values(), ids=ROWS)
def test_a_row_is_read(table: str, expected: SharedSecrets, tmp_path: Path) -> None:
    path = tmp_path / "secrets.csv"
    path.write_bytes(table.encode())
    assert load_shared_secrets(path) == expected


BAD = {
    "unknown kind": "secret,,c2VjcmV0c2VjcmV0c2VjcmV0\n",
    "key of a wrong size": "key,,c2VjcmV0\n",
    "key that is no text": "key,,secret!\n",
    "identifier that is not hexadecimal": f"key,secret,{BASE64}\n",
    "password with an identifier": "password,6c697374,secret\n",
    "no secret": "password,,\n",
    "two columns": "password,secret\n",
    "two keys of one name": f"key,6c69,{BASE64}\nkey,6c69,{'c2VjcmV0' * 4}\n",
    "nothing": "# secret\n",
    "no CSV": "password,,secret\x00\n" + "x" * 200_000 + "\n",
}


@pytest.mark.parametrize("table", BAD.values(), ids=BAD)
def test_a_row_that_makes_no_sense_is_told_without_its_secret(table: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(table, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_shared_secrets(path)
    assert "table of secrets" in caught.value.message
    assert "c2Vj" not in caught.value.message + caught.value.hint
    assert caught.value.hint


def test_a_missing_table_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_shared_secrets(tmp_path / "missing")


def test_secrets_alone_are_a_history_that_travels_to_workers(tmp_path: Path) -> None:
    path = tmp_path / "secrets.csv"
    path.write_text("password,,hidden word\n", encoding="utf-8")
    history = load_key_history(KeySpecification(secrets=path))
    copy = type(history).from_material(history.material)
    assert (len(copy), copy.secrets) == (0, SharedSecrets(passwords=(b"hidden word",)))
    assert "hidden" not in repr((history, history.material))
