"""report: what it tells is what the logs hold, whatever mail wrote there; nothing is harmed."""

from __future__ import annotations

import base64
import csv
import gc
import hashlib
import html
import io
import json
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import tracemalloc
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from sectool.cli.reporting.collect import TOLD_APART, Tally
from sectool.cli.reporting.page import KINDS, Kind
from sectool.cli.words import advice
from sectool.cli.words.verdicts import Level
from sectool.locks import Lock
from sectool.outcome import NOT_DONE, State
from tests.support.copies import copy_as_moved
from tests.support.peers import require

Fixture = Any

PAGE_OF_STATES = Path(__file__).parents[2] / "docs" / "states.md"

HOSTILE = (
    "<script>document.title='harmed'</script><img src=//127.0.0.1:{port}/x onerror=alert(1)>"
    "\"'><svg/onload=alert(2)> {{{{ 7*7 }}}} \u202egnp.exe\u2066 \x1b[2J\x07 &amp; \u2028"
)
LONG = "long " * 200_000
WRITE = "UPDATE message SET reason = ?, folder = ? WHERE state = 'missing-key'"


class Text(HTMLParser):
    """The text of a page that a person sees, and the attributes of its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self._open = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open = tag
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open not in {"script", "style"}:
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def change(job: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    with closing(sqlite3.connect(job / "job.db")) as log, log:
        for statement, values in statements:
            log.execute(statement, values)


def told(job: Path, question: str) -> Any:
    with closing(sqlite3.connect(job / "job.db")) as log:
        return log.execute(question).fetchone()[0]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, sample: Fixture) -> Path:
    """Two jobs, one of an older version, one with a damaged log."""
    place = tmp_path_factory.mktemp("jobs") / "moves"
    (place / "alice").mkdir(parents=True)
    copy_as_moved(sample.job, place / "alice" / "first")
    copy_as_moved(sample.job, place / "bob")
    change(place / "bob", ("UPDATE job SET value = 'maildir:/mail/bob' WHERE name = 'mailbox'", ()))
    for name in ("older", "torn"):
        copy_as_moved(sample.job, place / name)
    change(place / "older", ("PRAGMA user_version = 3", ()))
    with (place / "torn" / "job.db").open("r+b") as log:
        log.seek(4096)
        log.write(b"\xa5" * 8192)
    return place


@pytest.fixture
def rows(run: Fixture, tmp_path: Path) -> Any:
    """The rows of a table that a report writes."""

    def read(option: str, *words: object) -> list[dict[str, str]]:
        file = tmp_path / "table.csv"
        run("report", *words, option, file, "--quiet")
        with file.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream, strict=True))

    return read


def files_of(place: Path) -> dict[Path, tuple[int, int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_mode, path.read_bytes())
        for path in place.rglob("*")
        if path.is_file()
    }


# --- the page -------------------------------------------------------------------------------------


def in_chromium(page: Path, profile: Path) -> str:
    """What a browser makes of a page, its script having run."""
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={profile}", "--dump-dom", f"file://{page}"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    return done.stdout.decode()


def test_a_browser_shows_what_the_log_holds_and_obeys_nothing_that_mail_wrote(
    run: Fixture, place: Path, tmp_path: Path
) -> None:
    require("chromium")
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        text = HOSTILE.format(port=trap.getsockname()[1])
        job = copy_as_moved(place / "bob", tmp_path / "job")
        change(
            job,
            ("UPDATE message SET reason = ? WHERE state = 'missing-key'", (text,)),
            ("UPDATE message SET folder = ?", (text,)),
            ("UPDATE recipient SET issuer = ? WHERE serial_number <> ''", (text,)),
            ("UPDATE part SET content_encryption_algorithm = ?", (text,)),
            ("UPDATE job SET value = 'maildir:/' || ? WHERE name = 'mailbox'", (text,)),
        )
        page = tmp_path / "page.html"
        assert run("report", job, place / "bob", "--html", page).code == 0
        shown = in_chromium(page, tmp_path / "profile")
        with pytest.raises(BlockingIOError):
            trap.accept()
    seen = Text(shown)
    assert "sectool report ✖ of 2 jobs: 2 not all done" in seen.text
    for state, count in {"checkpointed": 12, "clear": 4, "signed": 2, "missing-key": 2}.items():
        assert re.search(rf"\b{state} [a-z ,]+ {count} \d+\.\d %", seen.text), state
    for year in ("2011", "2012"):
        count = 2 * told(place / "bob", f"SELECT count(*) FROM message WHERE year = '{year}'")
        assert f" {year} {count} " in seen.text
    assert seen.text.count("<script>document.title='harmed'</script>") >= 4
    assert "49" not in re.findall(r"\S+", seen.text.partition("By year")[0])
    assert set(shown) & {"\u202e", "\u2066", "\x1b", "\x07", "\u2028", "\0"} == set()
    # Sorting is a script of the page's own, which its policy lets run.
    assert shown.count('<button type="button">') == 10
    assert seen.tags.count("script") == 1
    assert "img" not in seen.tags


def test_the_page_loads_nothing_and_lets_nothing_run_but_its_own(
    run: Fixture, place: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    run("report", place, "--html", page)
    text = page.read_text(encoding="utf-8")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    hashes = [
        base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        for name in ("style", "script")
        for inside in re.findall(rf"<{name}>(.*?)</{name}>", text, re.DOTALL)
    ]
    assert html.unescape(policy) == (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}';"
        " base-uri 'none'; form-action 'none'"
    )
    assert "://" not in text
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) == {"#"}
    attributes = Text(text).attributes
    assert {name for name, _ in attributes} & {"src", "style", "onclick", "onload"} == set()
    assert {value[0] for name, value in attributes if name == "href"} == {"#"}


def test_each_job_is_a_line_and_one_that_cannot_be_read_is_too(
    run: Fixture, place: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    answer = run("report", place, "--html", page)
    alone = run("status", place / "older")
    # The first that cannot be read decides, as with `status`.
    assert answer.code == run("status", *sorted(place.iterdir())[1:]).code == alone.code == 21
    text = Text(page.read_text(encoding="utf-8")).text
    assert "of 4 jobs: 2 cannot be read, 2 not all done" in text
    for name in ("alice/first", "bob", "older", "torn"):
        assert str(place / name) in text
    assert "job.db was made by a development version of sectool" in text
    assert "job.db is damaged" in text
    assert answer.err.count("sectool: error: ") == 2


def test_no_address_and_no_message_id_is_told(
    run: Fixture, place: Path, tmp_path: Path, rows: Any
) -> None:
    assert told(place / "bob", "SELECT count(*) FROM message WHERE message_id LIKE '%@%'")
    page = tmp_path / "page.html"
    run("report", place / "bob", "--html", page)
    text = Text(page.read_text(encoding="utf-8")).text
    assert "@" not in text
    assert "@" not in json.dumps([rows(option, place) for option in ("--csv", "--messages")])


def test_nothing_of_a_job_is_changed(run: Fixture, place: Path, tmp_path: Path) -> None:
    before = files_of(place)
    names = ("--html", "--csv", "--messages")
    run("report", place, *(word for name in names for word in (name, tmp_path / name[2:])))
    assert files_of(place) == before


def test_a_job_that_is_being_worked_on_is_read_as_it_stands_and_said_to_run(
    run: Fixture, place: Path, tmp_path: Path, rows: Any
) -> None:
    job = copy_as_moved(place / "bob", tmp_path / "job")
    status = run("status", job, "--json").document
    status["activity"].update(ended=None, exit_code=None, stage="encrypting", done=3, total=6)
    (job / "status.json").write_text(json.dumps(status))
    with Lock(job / "lock", what="job", holder="somebody"):
        (line,) = rows("--csv", job)
    assert line["running"] == "yes"
    assert "decrypt is running (encrypting 3 of 6)" in line["verdict"]
    (line,) = rows("--csv", job)
    assert line["running"] == "no"
    assert "decrypt was stopped before its end" in line["verdict"]


# --- the tables -----------------------------------------------------------------------------------


def test_the_row_of_a_mailbox_has_the_figures_of_the_log(
    place: Path, run: Fixture, rows: Any
) -> None:
    first, bob, older, torn = rows("--csv", place)
    document = run("status", place / "bob", "--json").document
    assert (first["job"], bob["mailbox"]) == (str(place / "alice" / "first"), "maildir:/mail/bob")
    for state in State:
        assert int(bob[state.value]) == document["counts"].get(state.value, 0)
    assert int(bob["messages"]) == document["messages"] == 10
    assert int(bob["waiting"]) == int(bob["checkpoints_in_clear"]) == 6
    assert bob["old_keys_not_needed_here"] == ""
    assert bob["last_exit_code"] == "3"
    assert bob["next_step"] == f"sectool encrypt MAILBOX --job {place / 'bob'} --to CERT"
    assert (older["error_code"], torn["error_code"]) == ("21", "13")
    assert (older["messages"], older["level"]) == ("", "cannot be read")


def test_the_row_of_a_message_says_what_it_is_and_what_to_do(place: Path, rows: Any) -> None:
    (row,) = rows("--messages", place / "bob")
    assert row["state"] == "missing-key"
    assert row["folder"] == "INBOX"
    assert int(row["size"]) == told(
        place / "bob", "SELECT size FROM message WHERE state = 'missing-key'"
    )
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", row["date"])
    named = told(
        place / "bob",
        "SELECT group_concat(serial_number || subject_key_identifier) FROM message"
        " JOIN message_recipient USING (message) JOIN recipient USING (recipient)"
        " WHERE state = 'missing-key'",
    )
    assert set((row["key_serial_number"] + row["key_identifier"]).split("; ")) == set(
        named.split(",")
    )
    assert row["next_step"].endswith(f"--keys PATH --job {place / 'bob'} --retry")


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", " =1", "\r\n=cmd|' /C calc'!A0", "\uff1d1", "\xa0=1"],
)
def test_no_cell_is_a_formula(text: str, place: Path, tmp_path: Path, rows: Any) -> None:
    job = copy_as_moved(place / "bob", tmp_path / "job")
    change(job, (WRITE, (text, text)))
    (row,) = rows("--messages", job)
    for cell in (row["folder"], row["reason"]):
        assert cell.startswith("'")
        assert not set(cell) & {"\r", "\n", "\t"}


@pytest.mark.parametrize("text", ['a "quoted", cell', "", "a\0b", "\u202eabc", HOSTILE, LONG])
def test_a_hostile_text_is_one_cell_of_bounded_length(
    text: str, place: Path, tmp_path: Path, rows: Any
) -> None:
    job = copy_as_moved(place / "bob", tmp_path / "job")
    change(job, (WRITE, (text, text)))
    raw = rows("--messages", job)
    assert [row["state"] for row in raw] == ["missing-key"]
    assert all(len(cell) < 3000 and cell.isprintable() for cell in raw[0].values())
    if text.startswith("a "):
        assert raw[0]["reason"] == text


def test_lines_end_as_the_standard_has_it(run: Fixture, place: Path, tmp_path: Path) -> None:
    run("report", place, "--csv", tmp_path / "table.csv")
    raw = (tmp_path / "table.csv").read_bytes()
    assert raw.count(b"\r\n") == raw.count(b"\n") == 5


# --- the files ------------------------------------------------------------------------------------


def test_the_files_are_for_their_owner_and_take_the_place_of_older_ones(
    run: Fixture, place: Path, tmp_path: Path
) -> None:
    old = os.umask(0)
    try:
        page, table = tmp_path / "page.html", tmp_path / "table.csv"
        page.write_text("older")
        page.chmod(0o644)
        assert run("report", place / "bob", "--html", page, "--csv", table).code == 0
    finally:
        os.umask(old)
    assert [path.stat().st_mode & 0o777 for path in (page, table)] == [0o600, 0o600]
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert {path.name for path in tmp_path.iterdir()} == {"page.html", "table.csv"}


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "FIFO"])
def test_what_is_no_file_of_that_name_is_left_as_it_is(
    kind: str, run: Fixture, place: Path, tmp_path: Path
) -> None:
    victim, page = tmp_path / "victim", tmp_path / "page.html"
    if kind == "link":
        victim.write_text("precious")
    if "link" in kind:
        page.symlink_to(victim)
    elif kind == "directory":
        page.mkdir()
    else:
        os.mkfifo(page)
    answer = run("report", place / "bob", "--html", page, "--csv", tmp_path / "table.csv")
    assert answer.code == 2
    assert answer.is_one_error()
    assert not victim.exists() or victim.read_text() == "precious"
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.parametrize(
    "words", [[], ["--html", "a", "--csv", "a"], ["--html", "nowhere/a"]], ids=str
)
def test_what_cannot_be_meant_is_usage(
    words: list[str], run: Fixture, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = run("report", place, *words)
    assert answer.code == 2
    assert answer.is_one_error()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_leaves_the_older_file(
    run: Fixture, place: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text("older")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        code = run("report", place / "bob", "--html", page).code
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert code == 17
    assert page.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.rights
def test_nobody_can_lead_a_file_of_roots_elsewhere(
    run: Fixture, place: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    answer = run("report", place / "bob", "--html", shared / "page.html")
    assert answer.code == 22
    assert list(shared.iterdir()) == []


def test_the_document_says_what_was_written(run: Fixture, place: Path, tmp_path: Path) -> None:
    answer = run("report", place, "--csv", tmp_path / "table.csv", "--json")
    assert answer.document["written"] == [str(tmp_path / "table.csv")]
    assert (answer.document["jobs_read"], answer.document["jobs_unreadable"]) == (2, 2)
    assert not answer.document["verdict"]["good"]


def test_a_directory_without_a_job_is_told(run: Fixture, place: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    answer = run("report", tmp_path / "empty", place / "bob", "--csv", tmp_path / "table.csv")
    assert answer.code == run("status", tmp_path / "empty").code == 2
    assert "is not a job directory" in (tmp_path / "table.csv").read_text(encoding="utf-8")


def test_a_job_that_is_named_twice_is_one_line(place: Path, rows: Any) -> None:
    assert len(rows("--csv", place / "bob", place / "bob" / "..", place / "bob")) == 4


# --- what is said of a job ------------------------------------------------------------------------


def test_what_to_do_is_what_the_page_of_states_says() -> None:
    page = {
        cells[0].strip("` "): cells[3].replace("`", "").strip()
        for line in PAGE_OF_STATES.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `") and (cells := line.strip("|").split("|"))
    }
    assert set(advice.WHAT_TO_DO) == NOT_DONE | {State.CHECKPOINTED}
    for state, words in advice.WHAT_TO_DO.items():
        assert page[state.value] == words
    assert {state for state, kind in KINDS.items() if kind is Kind.NOT_DONE} == NOT_DONE


def test_a_job_is_done_only_where_the_log_holds_it(
    run: Fixture, sample: Fixture, move: Fixture, rows: Any, tmp_path: Path
) -> None:
    change(move.job, ("UPDATE message SET state = 'clear' WHERE state = 'missing-key'", ()))

    def stands() -> tuple[str, str, str]:
        (line,) = rows("--csv", move.job)
        return line["level"], line["verdict"], line["next_step"].split(" /")[0]

    assert stands() == (
        Level.OPEN.value,
        "6 messages not encrypted to the new key yet",
        "sectool encrypt MAILBOX --job",
    )
    words = ("--job", move.job, "--to", sample.new, "--workers=0", "-q")
    run("encrypt", move.maildir, *words, "--limit=2", "--accept-lost")
    level, verdict, _ = stands()
    assert level == Level.OPEN.value
    assert "2 messages encrypted, and not opened with the new key yet" in verdict
    assert "4 messages not encrypted to the new key yet" in verdict
    run("encrypt", *words)
    assert stands()[2] == "sectool verify"
    keys = ("--verify-keys", sample.new, "--verify-keys", sample.new.with_suffix(".key"))
    run("verify", move.job, *keys, "--workers=0", "-q")
    assert stands() == (Level.OPEN.value, "6 checkpoints still in clear", "sectool purge")
    run("purge", move.job, "--workers=0", "-q")
    assert stands() == (Level.GOOD.value, "all done", "")
    page = tmp_path / "page.html"
    run("report", move.job, "--html", page)
    text = Text(page.read_text(encoding="utf-8")).text
    assert "in job directories, before 6 checkpoints, the first since" in text
    assert "Nobody asked since the mail was last worked on" in text
    assert "not needed" not in text


def test_how_long_plaintext_lay_is_told_by_the_times_of_the_log(
    run: Fixture, place: Path, tmp_path: Path
) -> None:
    job = copy_as_moved(place / "bob", tmp_path / "job")
    day = 24 * 3600 * 1_000_000
    start = 1_600_000_000 * 1_000_000
    # One lay twice, one lies still, and one was undone.
    steps = [
        (1, 0, "decrypted"),
        (2, 1, "decrypted"),
        (1, 3, "reencrypted"),
        (1, 10, "decrypted"),
        (3, 10, "decrypted"),
        (1, 17, "rolled-back"),
        (3, 11, "returned"),
        (1, 18, "verified"),
    ]
    change(
        job,
        *(
            ("INSERT INTO step (at, message, name) VALUES (?, ?, ?)", (start + at * day, row, name))
            for row, at, name in steps
        ),
        (
            "INSERT INTO tombstone SELECT 'checkpoint', content_digest, 'removed' FROM checkpoint",
            (),
        ),
        ("UPDATE checkpoint SET written = ?", (start,)),
        (
            "INSERT INTO step (at, message, name) SELECT DISTINCT ?, message, 'purged' FROM part",
            (start + 30 * day,),
        ),
    )
    page = tmp_path / "page.html"
    assert run("report", job, "--html", page).code == 0
    text = Text(page.read_text(encoding="utf-8")).text
    assert (
        "in mailboxes, before 3 messages, the first since 2020-09-13; none longer than 7 days"
        in text
    )
    assert "before 6 checkpoints, the first since 2020-09-13; none longer than 30 days" in text


# --- a thousand jobs ------------------------------------------------------------------------------


@pytest.fixture
def many(place: Path, tmp_path: Path) -> list[Path]:
    made = []
    for number in range(8):
        job = tmp_path / "many" / f"{number:02}"
        job.mkdir(parents=True, mode=0o700)
        shutil.copy(place / "bob" / "job.db", job)
        made.append(job)
    return made


def test_memory_does_not_grow_with_the_number_of_jobs(
    run: Fixture, many: list[Path], tmp_path: Path
) -> None:
    def peak(jobs: list[Path]) -> int:
        words = (*jobs, "--html", tmp_path / "page.html", "--messages", tmp_path / "table.csv")
        # Else what this process holds decides how seldom it collects.
        gc.collect()
        gc.freeze()
        tracemalloc.start()
        try:
            assert run("report", *words).code == 0
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            gc.unfreeze()

    # Of two, since the first of a process loads modules, and garbage is collected now and then.
    assert min(peak(many), peak(many)) < 1.5 * min(peak(many[:2]), peak(many[:2]))


def test_words_beyond_the_bound_are_counted_together() -> None:
    tally = Tally()
    for number in range(TOLD_APART + 50):
        tally.add(str(number), 2)
    tally.add("0", 1)
    assert (len(tally), tally["0"], tally.others) == (TOLD_APART, 3, 100)


def test_a_log_of_as_many_reasons_as_messages_makes_no_endless_page(
    run: Fixture, place: Path, tmp_path: Path
) -> None:
    job = copy_as_moved(place / "bob", tmp_path / "job")
    columns = "identity, original_identity, plaintext_identity, stored_copy, further, proof, purged"
    columns += ", folder, hint, size, internal_date, year, message_id, tried_with, presence"
    statement = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)"
        f" INSERT INTO message ({columns}, state, reason, key)"
        f" SELECT {columns}, 'failed', 'reason ' || i, 'key' || i FROM n, message"
        " WHERE message = 1"
    )
    change(job, (statement, ()))
    page, table = tmp_path / "page.html", tmp_path / "table.csv"
    assert run("report", job, "--html", page, "--messages", table).code == 0
    assert len(page.read_bytes()) < 100_000
    assert "2,500" in page.read_text(encoding="utf-8")
    assert "more reasons: the table of" in page.read_text(encoding="utf-8")
    assert len(list(csv.reader(io.StringIO(table.read_text(encoding="utf-8"))))) == 2502
