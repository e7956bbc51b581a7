"""The programs sectool is held against, each in a directory of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.forge import Holder, Person
from tests.support.identities import PASSPHRASE, address, authority, pkcs12_of

TIMEOUT = 120
"""Seconds for one command of a peer: far more than any takes."""
LEGACY = ("-provider", "legacy", "-provider", "default")
"""Options of OpenSSL for algorithms of the last century."""
THUNDERBIRD = Path("/usr/lib/thunderbird")
_JARS = tuple(
    Path(f"/usr/share/java/{name}.jar") for name in ("bcmail", "bcpkix", "bcprov", "bcutil")
)


class PeerRefused(Exception):
    """A peer cannot do what it was asked for; holds its last words."""


class Peer(Protocol):
    """A program that writes and opens envelopes."""

    def version(self) -> str:
        """As the program tells it."""

    def seal(self, content: bytes, *words: str, to: Sequence[Holder]) -> bytes:
        """An envelope, as the words ask for it in the peer's own language; raises PeerRefused."""

    def open(self, envelope: bytes, person: Holder) -> bytes:
        """The content, by a person's key; raises PeerRefused."""

    def stop(self) -> None:
        """Ends what runs."""


def peer_missing(reason: str) -> None:
    """Skips, or fails where continuous integration promised the peer."""
    if os.environ.get("SECTOOL_REQUIRE_PEERS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def require(*needed: str | Path) -> None:
    """Skips or fails where a program or file is not there."""
    for each in needed:
        if shutil.which(each) is None and not Path(each).exists():
            peer_missing(f"{each} is not installed")


def run(
    *command: str | Path,
    directory: Path,
    given: bytes = b"",
    environment: Mapping[str, str] | None = None,
) -> bytes:
    """The output of a command.

    Raises:
        PeerRefused: it failed.
    """
    done = subprocess.run(
        [*command],
        cwd=directory,
        input=given,
        capture_output=True,
        check=False,
        timeout=TIMEOUT,
        # What they say when they refuse is compared, so they say it in English.
        env={**os.environ, "LC_ALL": "C.UTF-8", "LANGUAGE": "", **(environment or {})},
    )
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip()
        raise PeerRefused(words or f"{command[0]} ended with {done.returncode}")
    return done.stdout


@dataclass(frozen=True)
class OpenSSL:
    """The ``openssl`` command."""

    directory: Path

    @classmethod
    def start(cls, directory: Path) -> OpenSSL:
        require("openssl")
        return cls(directory)

    def stop(self) -> None:
        """Nothing runs."""

    def version(self) -> str:
        return " ".join(self._run("version").decode().split()[:2])

    def seal(self, content: bytes, *words: str, to: Sequence[Holder | Person] = ()) -> bytes:
        """What ``openssl cms -encrypt -binary`` writes, in DER unless told otherwise.

        Args:
            words: options; ``smime`` first for that command; those of each recipient
                (``-keyopt``) last.
        """
        command, words = ("smime", words[1:]) if words[:1] == ("smime",) else ("cms", words)
        self._write("content", content)
        first = words.index("-keyopt") if "-keyopt" in words else len(words)
        options, of_each = words[:first], words[first:]
        named = ("-recip",) if command == "cms" else ()
        recipients = [
            word
            for index, person in enumerate(to)
            for word in (*named, self._write(f"{index}.pem", person.pem()), *of_each)
        ]
        form = () if "-outform" in options else ("-outform", "DER")
        return self._run(
            command, "-encrypt", "-binary", "-in", "content", *form, *options, *recipients
        )

    def open(self, envelope: bytes, person: Holder | Person) -> bytes:
        self._write("envelope", envelope)
        name = self._write("key.pem", person.pem())
        return self._run(
            *("cms", "-decrypt", "-binary", "-inform", "DER", "-in", "envelope", *LEGACY),
            *("-inkey", name, "-recip", name),
        )

    def _run(self, *arguments: str) -> bytes:
        return run("openssl", *arguments, directory=self.directory)

    def _write(self, name: str, content: bytes) -> str:
        (self.directory / name).write_bytes(content)
        return name


@dataclass(frozen=True)
class GPGSM:
    """The ``gpgsm`` command with keys in a home of its own."""

    home: Path
    passphrase: str = PASSPHRASE
    """Of the PKCS#12 files it reads and writes."""
    _refused: dict[str, str] = field(default_factory=dict)
    """Why the key of a person could not be imported, by label; empty: it was."""

    @classmethod
    def start(cls, home: Path, passphrase: str = PASSPHRASE) -> GPGSM:
        require("gpgsm")
        home.chmod(0o700)
        fingerprint = authority()[1].fingerprint(hashes.SHA1()).hex().upper()
        for name, content in {
            "gpgsm.conf": "disable-crl-checks\nno-tty\nbatch\n",
            "gpg-agent.conf": "allow-loopback-pinentry\n",
            "trustlist.txt": f"{fingerprint} S relax\n",
        }.items():
            (home / name).write_text(content)
        peer = cls(home, passphrase)
        peer._import_certificate(authority()[1])
        return peer

    def stop(self) -> None:
        """Ends the agent of this home."""
        command = ["gpgconf", "--homedir", str(self.home), "--kill", "all"]
        subprocess.run(command, check=False, timeout=TIMEOUT)

    def version(self) -> str:
        words = self.run("--version").decode().splitlines()[0].split()
        return f"{words[0]} {words[-1]}"

    def seal(self, content: bytes, *words: str, to: Sequence[Holder]) -> bytes:
        """With options, and a cipher by the name gpgsm has for it."""
        (self.home / "content").write_bytes(content)
        for person in to:
            self._import_certificate(person.certificate)
        recipients = [word for person in to for word in ("-r", f"<{address(person)}>")]
        options = [word for word in words if word.startswith("--")]
        ciphers = [f"--cipher-algo={word}" for word in words if word not in options]
        return self.run(*options, *ciphers, *recipients, "-o", "-", "-e", "content")

    def open(self, envelope: bytes, person: Holder) -> bytes:
        if person.label not in self._refused:
            self._refused[person.label] = self._import(person)
        if self._refused[person.label]:
            raise PeerRefused(self._refused[person.label])
        (self.home / "envelope").write_bytes(envelope)
        return self.run("-d", "envelope")

    def import_pkcs12(self, write: Callable[[], bytes]) -> None:
        """Imports a file.

        Version 2.2 takes one in some forty for damaged, by the salt it has, so it is
        written anew before the refusal is believed.

        Raises:
            PeerRefused: it imports none of them.
        """
        for tries_left in reversed(range(4)):
            (self.home / "person.p12").write_bytes(write())
            try:
                self.run("--import", "person.p12")
            except PeerRefused:
                if not tries_left:
                    raise
            else:
                return

    def _import_certificate(self, certificate: x509.Certificate) -> None:
        (self.home / "certificate").write_bytes(certificate.public_bytes(Encoding.DER))
        self.run("--import", "certificate")

    def _import(self, person: Holder) -> str:
        try:
            self.import_pkcs12(partial(pkcs12_of, person))
        except PeerRefused as error:
            return f"no import: {error}"
        return ""

    def run(self, *arguments: str, passphrase: str | None = None) -> bytes:
        """A command, with the usual passphrase where none is given."""
        passphrase = self.passphrase if passphrase is None else passphrase
        return run(
            *("gpgsm", "--homedir", self.home, "--pinentry-mode", "loopback"),
            *("--passphrase-fd", "0", *arguments),
            directory=self.home,
            given=f"{passphrase}\n".encode(),
        )


@dataclass(frozen=True)
class NSS:
    """``cmsutil`` of NSS with a database of its own."""

    directory: Path
    libraries: Path | None
    """Where its libraries lie, if not where Debian has them."""
    _refused: dict[str, str] = field(default_factory=dict)
    """Why the key of a person could not be imported, by label; empty: it was."""

    @classmethod
    def start(cls, directory: Path, libraries: Path | None = None) -> NSS:
        require("cmsutil", "certutil", "pk12util", *([libraries] if libraries else []))
        peer = cls(directory, libraries)
        peer._run("certutil", "-N", "-d", "sql:.", "--empty-password")
        (directory / "authority.pem").write_bytes(authority()[1].public_bytes(Encoding.PEM))
        trust = ("-n", "authority", "-t", "CT,CT,CT", "-a", "-i", "authority.pem")
        peer._run("certutil", "-A", "-d", "sql:.", *trust)
        return peer

    def stop(self) -> None:
        """Nothing runs."""

    def version(self) -> str:
        linked = self._run("ldd", shutil.which("cmsutil") or "").decode()
        library = re.search(r"\S+/libnss3\.so", linked)
        assert library is not None
        found = re.search(rb"Version: NSS ([0-9.]+)", Path(library[0]).read_bytes())
        assert found is not None
        return f"NSS {found[1].decode()}"

    def seal(self, content: bytes, *words: str, to: Sequence[Holder]) -> bytes:
        """With the algorithms NSS chooses for a certificate."""
        for person in to:
            self._require(person)
        (self.directory / "content").write_bytes(content)
        recipients = ",".join(map(address, to))
        self._run("cmsutil", "-E", "-d", "sql:.", "-r", recipients, "-i", "content", "-o", "out")
        return (self.directory / "out").read_bytes()

    def open(self, envelope: bytes, person: Holder) -> bytes:
        self._require(person)
        (self.directory / "envelope").write_bytes(envelope)
        self._run("cmsutil", "-D", "-d", "sql:.", "-i", "envelope", "-o", "out")
        return (self.directory / "out").read_bytes()

    def _require(self, person: Holder) -> None:
        """Imports a person's key at its first use."""
        if person.label not in self._refused:
            self._refused[person.label] = self._import(person)
        if self._refused[person.label]:
            raise PeerRefused(self._refused[person.label])

    def _import(self, person: Holder) -> str:
        try:
            (self.directory / "person.p12").write_bytes(pkcs12_of(person))
            self._run("pk12util", "-i", "person.p12", "-d", "sql:.", "-W", PASSPHRASE, "-K", "")
        except PeerRefused as error:
            return f"no import: {error}"
        return ""

    def _run(self, *command: str) -> bytes:
        environment = {"LD_LIBRARY_PATH": str(self.libraries)} if self.libraries else {}
        return run(*command, directory=self.directory, environment=environment)


@dataclass(frozen=True)
class BouncyCastle:
    """The Java program of these tests, in one virtual machine that is asked line by line."""

    directory: Path
    _machine: subprocess.Popen[str] = field(repr=False)

    @classmethod
    def start(cls, directory: Path, program: Path) -> BouncyCastle:
        """Compiles it, and starts it in its directory."""
        require("javac", *_JARS)
        class_path = ":".join(map(str, (*_JARS, directory)))
        run("javac", "-cp", class_path, "-d", directory, program, directory=directory)
        machine = subprocess.Popen(
            ["java", "-cp", class_path, program.stem],
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return cls(directory, machine)

    def stop(self) -> None:
        """The end of its input is the end of the program."""
        self._machine.communicate(timeout=TIMEOUT)

    def version(self) -> str:
        return self._ask("version")

    def seal(self, content: bytes, *words: str, to: Sequence[Holder]) -> bytes:
        """To one person at the most.

        Args:
            words: how the content key is encrypted, and the content, as the program says.
        """
        (self.directory / "content").write_bytes(content)
        for person in to:
            certificate = person.certificate.public_bytes(Encoding.DER)
            (self.directory / "certificate").write_bytes(certificate)
        self._ask("seal", *words)
        return (self.directory / "envelope").read_bytes()

    def open(self, envelope: bytes, person: Holder) -> bytes:
        key = person.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        (self.directory / "key").write_bytes(key)
        (self.directory / "envelope").write_bytes(envelope)
        self._ask("open")
        return (self.directory / "content").read_bytes()

    def _ask(self, *words: str) -> str:
        assert self._machine.stdin is not None
        assert self._machine.stdout is not None
        self._machine.stdin.write(" ".join(words) + "\n")
        self._machine.stdin.flush()
        verdict, _, text = self._machine.stdout.readline().strip().partition(" ")
        if verdict != "done":
            raise PeerRefused(text or "the virtual machine ended")
        return text
