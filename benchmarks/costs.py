"""Says where the processor time of each message goes: one process, sampled while it works.

A sample is what Python was doing after some milliseconds of processor time. It counts for a
primitive where its line calls one, else for the room of sectool that it was done for.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.commands import put_into
from benchmarks.mail import Mail, make_mail

PRIMITIVES = {
    "private keys": r"\.decrypt\(|\.exchange\(",
    "base64": r"a2b_base64|b2a_base64|b64(en|de)code",
    "digests": r"sha\d+\(|digest\(|(hash|digest|sha256)\w*\.update",
    "ciphers": r"(crypt|cipher|context)\w*\.(update|finalize)|CipherContext",
    "syncs": r"\.(fsync|fdatasync|syncfs)\(",
    "SQLite": r"\.execute(many)?\(|\.commit\(",
    "system calls for files": r"os\.\w+\(|\.(open|read|write|readinto|close|seek)\(",
}
"""By what stands in the line of the program."""

PROGRAM = """
import collections, json, linecache, signal, sys, time
from sectool.cli import main

seen = collections.Counter()
last = time.process_time()

def sample(number, frame):
    global last
    where, room = frame, None
    while where is not None and room is None:
        _, found, name = where.f_code.co_filename.rpartition("/sectool/")
        room = name.partition("/")[0].removesuffix(".py") if found else None
        where = where.f_back
    now = time.process_time()
    seen[room or "start", frame.f_code.co_filename, frame.f_lineno or 0] += now - last
    last = now

target = sys.argv.pop()
signal.signal(signal.SIGPROF, sample)
signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
try:
    main()
finally:
    signal.setitimer(signal.ITIMER_PROF, 0)
    with open(target, "w") as stream:
        json.dump(
            [(room, linecache.getline(file, line) if line else "", spent)
             for (room, file, line), spent in seen.items()],
            stream,
        )
"""


def sampled(place: Path, *arguments: object) -> dict[str, float]:
    """Milliseconds of processor time of one command, by what they were spent on."""
    target = place / "samples"
    words = [*map(str, arguments), "--workers", "0", "--quiet", str(target)]
    subprocess.run([sys.executable, "-c", PROGRAM, *words], check=True)
    spent: dict[str, float] = defaultdict(float)
    for room, line, seconds in json.loads(target.read_text()):
        kinds = (kind for kind, pattern in PRIMITIVES.items() if re.search(pattern, line))
        spent[next(kinds, f"Python in {room}")] += 1000 * seconds
    return spent


def table(name: str, many: dict[str, float], one: dict[str, float], messages: int) -> str:
    """What each message costs beyond what a run with one costs."""
    spent = {kind: (all_of - one.get(kind, 0)) / messages for kind, all_of in many.items()}
    total = sum(spent.values())
    lines = [f"| {name} | ms per message | share |", "|---|---:|---:|"]
    for kind, each in sorted(spent.items(), key=lambda item: -item[1]):
        if each > total / 100:
            lines.append(f"| {kind} | {each:.2f} | {100 * each / total:.0f} % |")
    return "\n".join([*lines, f"| **all** | **{total:.2f}** | |\n"])


def commands(mail: Mail) -> dict[str, tuple[object, ...]]:
    """Those that are profiled, in order."""
    job, exchange = mail.directory / "job", mail.directory / "exchange"
    old, new = ("--keys", mail.old), ("--to", mail.new.with_suffix(".crt"))
    rewrapped = mail.directory / "rewrapped"
    return {
        "scan": ("scan", mail.maildir),
        "decrypt": ("decrypt", mail.maildir, *old, "--job", job),
        "encrypt": ("encrypt", mail.maildir, *new, "--job", job),
        "rewrap": ("rewrap", rewrapped, *old, *new, "--job", exchange, "--or-reencrypt"),
    }


def main() -> None:
    """Profiles each command on a mailbox and on nearly none, and tells the difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--mix", default="ordinary", help="of mail: ordinary, small or curve")
    parser.add_argument("--only", nargs="+", help="these commands alone")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"), help="where to work")
    parser.add_argument("--into", type=Path, help="put the tables into this page")
    options = parser.parse_args()
    tables: list[str] = []
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        many = make_mail(Path(name, "many"), options.mix, options.messages)
        one = make_mail(Path(name, "one"), options.mix, 1)
        for mail in (many, one):
            shutil.copytree(mail.maildir, mail.directory / "rewrapped")
        of_one = commands(one)
        for command, arguments in commands(many).items():
            if not options.only or command in options.only or command == "decrypt":
                done = sampled(many.directory, *arguments)
                start = sampled(one.directory, *of_one[command])
                tables.append(table(command, done, start, options.messages - 1))
                print(tables[-1], flush=True)
    if options.into:
        put_into(options.into, "profile", "\n".join(tables))


if __name__ == "__main__":
    main()
