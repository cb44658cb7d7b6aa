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
    """Cache of TLS contexts, one per file of certificate authorities and use.

    Creating one costs 4 ms of CPU, and hundreds of servers share it. HTTP has separate contexts: the library sets ALPN
    in them, and a mail server that is offered only HTTP may close the connection (RFC 7301 3.2). A context is the same
    object while the content of the file is the same. Call `look_again` whenever the configuration is read.
    """

    def __init__(self) -> None:
        #: Contexts by file and use, each with the mark of the content.
        self._contexts: dict[tuple[Path | None, bool], tuple[str, ssl.SSLContext]] = {}
        self._looked_at: set[tuple[Path | None, bool]] = set()

    def look_again(self) -> None:
        """Check each file for changes at its next use."""
        self._looked_at.clear()

    def context(self, ca_file: Path | None, *, for_http: bool = False) -> ssl.SSLContext:
        """Return the context that trusts only the authorities in *ca_file*, or the system's. Raise `TrustStoreError`.

        *for_http*: for HTTP clients; otherwise the context is for mail servers.
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
    """Return the context of the system's authorities.

    It is cached by *_mark*, because reading hundreds of authorities is slow.
    """
    return ssl.create_default_context()


def _made(authorities: bytes) -> ssl.SSLContext:
    # Text around the certificates, such as their owners' names, may be in any encoding. For an empty text the library
    # would load the system's authorities.
    text = authorities.decode("ascii", "ignore") or "-"
    try:
        return ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        raise TrustStoreError("holds no certificates in PEM form") from None


def _mark(authorities: bytes | None) -> str:
    """Return a mark that changes when the trusted authorities change."""
    if authorities is not None:
        return hashlib.sha256(authorities).hexdigest()
    # The system's authorities are hundreds, in a file or a directory that is replaced as a whole.
    places = ssl.get_default_verify_paths()
    marks = []
    for place in filter(None, (places.cafile, places.capath)):
        with suppress(OSError):
            marks.append(f"{place} {Path(place).stat().st_mtime_ns}")
    return " ".join(marks)
