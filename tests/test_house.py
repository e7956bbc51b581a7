"""The house keeps its own rules: layers, sizes, who renames, what the papers say."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from sectool import errors
from tests import conftest

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "sectool").rglob("*.py"))

MUTATING_CALLS = {
    "fsync",
    "fdatasync",
    "rename",
    "renames",
    "replace",
    "link",
    "hardlink_to",
    "symlink_to",
    "unlink",
    "rmdir",
    "rmtree",
    "remove",
    "truncate",
}
"""Calls that change names or durability; ``replace`` counts with one argument only,
``remove`` where it is not a list's."""


def _calls(path: Path) -> Iterator[ast.Call]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node


def _is_mutating(call: ast.Call) -> bool:
    assert isinstance(call.func, ast.Attribute)
    name = call.func.attr
    if name not in MUTATING_CALLS:
        return False
    if isinstance(call.func.value, ast.Name) and call.func.value.id == "durable":
        return False
    if name == "remove":
        return isinstance(call.func.value, ast.Name) and call.func.value.id == "os"
    # str.replace and dataclasses.replace are not pathlib's.
    return name != "replace" or (len(call.args) == 1 and not call.keywords)


def test_arrows_between_rooms_point_down() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def _module(path: Path) -> str:
    names = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def _imports(node: ast.AST, modules: set[str]) -> Iterator[str]:
    """The modules that code imports, inside functions too; not those that give a type its name."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            whole = f"{node.module}.{alias.name}"
            yield whole if whole in modules else str(node.module)
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, modules)


def _sorter(sources: dict[str, str]) -> TopologicalSorter[str]:
    modules = set(sources)
    return TopologicalSorter(
        {
            name: modules.intersection(_imports(ast.parse(text), modules)) - {name}
            for name, text in sources.items()
        }
    )


def test_no_modules_import_each_other_in_a_circle() -> None:
    _sorter({_module(path): path.read_text(encoding="utf-8") for path in SOURCES}).prepare()


def test_a_circle_is_found_also_where_it_closes_inside_a_function() -> None:
    closing = "def f() -> None:\n    from house import a"
    with pytest.raises(CycleError):
        _sorter({"house.a": "import house.b", "house.b": closing}).prepare()


def test_no_module_is_longer_than_500_lines() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {path.name: length for path, length in lengths.items() if length > 500} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    long = [
        f"{path.name}:{node.name}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60
    ]
    assert long == []


def test_only_durable_renames_links_unlinks_and_syncs() -> None:
    # The sample is demo data, unpacked into a directory nobody relies on.
    exempt = {ROOT / "sectool" / "durable.py", ROOT / "sectool" / "demo" / "sample.py"}
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in SOURCES
        if path not in exempt
        for call in _calls(path)
        if _is_mutating(call)
    ]
    assert found == []


def test_messages_in_files_are_reached_by_open_directories_alone() -> None:
    on_descriptors = {
        *("os.fstat", "os.read", "os.fchown", "os.fchmod", "os.utime", "os.path.samestat"),
        *("os.listxattr", "os.getxattr", "os.setxattr", "os.removexattr"),
        *("os.geteuid", "os.getpid", "os.urandom", "os.strerror", "os.access"),
        *("os.pread", "os.preadv", "os.write", "os.copy_file_range", "os.posix_fadvise"),
        *("os.dup", "os.close", "os.fdopen", "os.fsencode", "os.fsdecode", "os.kill"),
        "os.path.realpath",  # only to compare what two paths lead to
    }
    of_entries = {"entry.is_dir", "entry.is_file", "entry.is_symlink"}
    of_entries |= {"link.is_dir"}  # to tell that a link was passed over
    # Who holds the locks of a profile, which hold nothing else, and what a process is called.
    of_entries |= {"(path / 'prefs.js').is_file", "path.is_dir", "(profile / 'lock').readlink"}
    of_entries |= {"Path(f'/proc/{process}/comm').read_bytes"}
    by_path = {
        *("exists", "is_file", "is_dir", "is_symlink", "stat", "iterdir", "glob", "rglob"),
        *("read_bytes", "read_text", "write_bytes", "write_text", "touch", "chmod", "samefile"),
        *("resolve", "readlink", "symlink_to", "hardlink_to", "rmdir"),
    }
    found = []
    rooms = [ROOT / "sectool" / "mailbox" / name for name in ("files", "maildir", "eml", "mbox")]
    for path in sorted(path for room in rooms for path in room.glob("*.py")):
        for call in _calls(path):
            text = ast.unparse(call.func)
            is_of_system = re.fullmatch(r"os(\.path)?\.\w+|shutil\.(?!copyfileobj)\w+", text)
            is_by_path = text == "open" or ("." in text and text.rpartition(".")[2] in by_path)
            if (is_by_path and text not in of_entries) or (
                is_of_system and text not in on_descriptors
            ):
                found.append(f"{path.name}:{call.lineno} {text}")
            elif text in {"os.access", "os.utime"}:
                assert {"dir_fd", "ns"} & {word.arg for word in call.keywords}
    assert found == []


def test_every_call_of_durable_that_changes_a_disk_passes_a_crash_point() -> None:
    tree = ast.parse((ROOT / "sectool" / "durable.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    acts = {"rename", "exchange", "unlink", "link", "sync_files", "sync_directories"}
    for function in functions:
        if function.name in acts:
            text = ast.unparse(function)
            assert "crashpoint(f'{point}.before')" in text, function.name
            assert "crashpoint(f'{point}.after')" in text, function.name


def test_only_the_job_log_knows_sqlite() -> None:
    users = {
        path.parent.name
        for path in SOURCES
        if re.search(r"^\s*(import|from) sqlite3", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert users == {"joblog"}


def test_only_the_command_line_knows_typer_and_tqdm() -> None:
    users = {
        path.relative_to(ROOT / "sectool").parts[0]
        for path in SOURCES
        if re.search(
            r"^\s*(import|from) (typer|tqdm|click)", path.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    assert users == {"cli"}


def _documented_codes() -> dict[int, str]:
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    return {
        int(code): words
        for code, words in re.findall(r"^\| (\d+) \| ([^|]+) \|", text, re.MULTILINE)
    }


def _error_classes() -> list[type[errors.SectoolError]]:
    return [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.SectoolError)
    ]


@pytest.mark.parametrize("kind", _error_classes(), ids=lambda kind: kind.__name__)
def test_every_error_has_its_exit_code_in_the_table(kind: type[errors.SectoolError]) -> None:
    assert _documented_codes()[kind.exit_code] == kind.summary


def test_the_table_of_exit_codes_knows_no_code_that_no_error_has() -> None:
    assert set(_documented_codes()) - {0} == {kind.exit_code for kind in _error_classes()}


def test_what_is_said_to_be_measured_or_not_is_there() -> None:
    tests = Path(__file__).parent
    named = [*conftest.MEASURED, *conftest.MEASURED_BESIDE, *conftest.UNMEASURED]
    assert [name for name in named if not (tests / name).exists()] == []
