"""Certificate authorities for connections to mail servers."""

from __future__ import annotations

import hashlib
import ssl
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from monitor.config.files.findings import Findings
from monitor.config.files.regular import NotRegularFileError, read_regular, why
from monitor.model.lazy_text import said

#: About thirty times the size of the system's authorities.
_AUTHORITIES_AT_MOST = 8 * 1024 * 1024


class TrustStoreError(Exception):
    """A file of authorities cannot be used; the message gives the reason."""


class Trust:
    """Makes one TLS context for each file of authorities: making one costs 4 ms of CPU, and hundreds of servers share it.

    And one for each by which HTTP is spoken: the library writes into it that it is, and a mail server that is offered
    nothing but HTTP may hang up (RFC 7301 3.2). A context stays the same for as long as the file holds the same.
    `look_again` whenever the configuration is read.
    """

    def __init__(self) -> None:
        #: By file and use, with what it held.
        self._contexts: dict[tuple[Path | None, bool], tuple[str, ssl.SSLContext]] = {}
        self._looked_at: set[tuple[Path | None, bool]] = set()

    def look_again(self) -> None:
        """Check each file for changes at its next use."""
        self._looked_at.clear()

    def context(self, ca_file: Path | None, *, for_http: bool = False) -> ssl.SSLContext:
        """Return the context that trusts the authorities in *ca_file* only, or the system's. Raise `TrustStoreError`.

        *for_http*: for whoever speaks HTTP; otherwise it is for mail servers.
        """
        what = ca_file, for_http
        known = self._contexts.get(what)
        if known is None or what not in self._looked_at:
            authorities = None if ca_file is None else _read(ca_file)
            mark = _mark(authorities)
            if known is None or known[0] != mark:
                made = _systems(mark, for_http=for_http) if authorities is None else _made(authorities)
                known = self._contexts[what] = mark, made
            self._looked_at.add(what)
        return known[1]


def check_authorities(ca_file: Path | None, trust: Trust, findings: Findings) -> None:
    """Record a file of authorities that cannot be used."""
    try:
        trust.context(ca_file)
    except TrustStoreError as error:
        findings.error(str(error), "the path of a PEM file with certificates")


def _read(ca_file: Path) -> bytes:
    try:
        return read_regular(ca_file, _AUTHORITIES_AT_MOST)
    except NotRegularFileError as error:
        raise TrustStoreError(said("{file} {error}", file=ca_file, error=str(error))) from None
    except (OSError, ValueError) as error:
        # The name is omitted: it may be a misplaced password.
        raise TrustStoreError(said("cannot be read: {error}", error=why(error))) from None


@lru_cache(maxsize=2)
def _systems(_mark: str, *, for_http: bool) -> ssl.SSLContext:  # noqa: ARG001 - one for each
    """Return what trusts as the system does, while that has this mark: to read its hundreds of authorities takes longest."""
    return ssl.create_default_context()


def _made(authorities: bytes) -> ssl.SSLContext:
    # What stands beside the certificates, such as whose they are, may be in any language. Of nothing at all the library
    # would make a trust in the system's.
    text = authorities.decode("ascii", "ignore") or "-"
    try:
        return ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        raise TrustStoreError("holds no certificates in PEM form") from None


def _mark(authorities: bytes | None) -> str:
    """Return what changes when what is trusted does."""
    if authorities is not None:
        return hashlib.sha256(authorities).hexdigest()
    # The system's are hundreds, in a file or a directory that is written anew as a whole.
    places = ssl.get_default_verify_paths()
    marks = []
    for place in filter(None, (places.cafile, places.capath)):
        with suppress(OSError):
            marks.append(f"{place} {Path(place).stat().st_mtime_ns}")
    return " ".join(marks)
