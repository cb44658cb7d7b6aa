"""The certificate authorities that mail servers are met with."""

from __future__ import annotations

import hashlib
import ssl
from contextlib import suppress
from pathlib import Path

from monitor.config.files.findings import Findings
from monitor.config.files.regular import NotRegular, check_regular, why

#: Some thirty times what a system trusts.
_AUTHORITIES_AT_MOST = 8 * 1024 * 1024


class NoTrust(Exception):
    """A file of authorities could not be used; the message says why."""


class Trust:
    """Makes one TLS context for each file of authorities: making one costs 4 ms of CPU, and hundreds of servers share it.

    A context stays the same for as long as the file holds the same. `look_again` whenever the configuration is read.
    """

    def __init__(self) -> None:
        #: By file, with what it held.
        self._contexts: dict[Path | None, tuple[str, ssl.SSLContext]] = {}
        self._looked_at: set[Path | None] = set()

    def look_again(self) -> None:
        """Look into each file anew when it is next asked for."""
        self._looked_at.clear()

    def context(self, ca_file: Path | None) -> ssl.SSLContext:
        """Return the context that trusts the authorities in *ca_file* only, or the system's. Raise `NoTrust`."""
        known = self._contexts.get(ca_file)
        if known is None or ca_file not in self._looked_at:
            if ca_file is not None:
                _check(ca_file)
            mark = _mark(ca_file)
            if known is None or known[0] != mark:
                known = self._contexts[ca_file] = mark, _made(ca_file)
            self._looked_at.add(ca_file)
        return known[1]


def check_authorities(ca_file: Path | None, trust: Trust, findings: Findings) -> None:
    """Note a file of authorities that cannot be used."""
    try:
        trust.context(ca_file)
    except NoTrust as error:
        findings.error(str(error), "the path of a PEM file")


def _check(ca_file: Path) -> None:
    try:
        check_regular(ca_file, _AUTHORITIES_AT_MOST)
    except NotRegular as error:
        raise NoTrust(f"{ca_file} {error}") from None
    except (OSError, ValueError) as error:
        raise _unread(ca_file, error) from None


def _made(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError:
        raise NoTrust(f"{ca_file} holds no certificates in PEM form") from None
    except (OSError, ValueError) as error:
        raise _unread(ca_file, error) from None


def _unread(ca_file: Path | None, error: Exception) -> NoTrust:
    return NoTrust(f"{ca_file} cannot be read: {why(error)}")


def _mark(ca_file: Path | None) -> str:
    """Return what changes when what is trusted does."""
    if ca_file is not None:
        with suppress(OSError, ValueError):
            return hashlib.sha256(ca_file.read_bytes()).hexdigest()
        return ""
    # The system's are hundreds, in a file or a directory that is written anew as a whole.
    places = ssl.get_default_verify_paths()
    marks = []
    for place in filter(None, (places.cafile, places.capath)):
        with suppress(OSError):
            marks.append(str(Path(place).stat().st_mtime_ns))
    return " ".join(marks)
