"""TLS contexts with the certificate authorities that the configuration names."""

from __future__ import annotations

import hashlib
import ssl
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from monitor.config.files.findings import Findings
from monitor.config.files.regular import NotRegularFileError, error_reason, read_regular
from monitor.model.translatable import translatable

#: Maximum size of a file of authorities in octets: about thirty times the size of the system's file.
_MAX_AUTHORITIES_OCTETS = 8 * 1024 * 1024


class TrustStoreError(Exception):
    """A file of authorities cannot be used; the message gives the reason."""


class Trust:
    """Cache of TLS contexts: for each file of certificate authorities one for mail servers, and one for HTTP.

    Creating a context takes 4 ms of CPU time, and hundreds of servers share it. HTTP clients need a separate context,
    because their library sets ALPN in it: a mail server that is offered only HTTP may close the connection (RFC 7301
    3.2). While the content of the file is the same, `context` returns the same object. Call `recheck_files` before each
    read of the configuration.
    """

    def __init__(self) -> None:
        #: Contexts by file (`None`: the system's authorities) and `for_http`, each with the fingerprint of its
        #: authorities.
        self._contexts: dict[tuple[Path | None, bool], tuple[str, ssl.SSLContext]] = {}
        #: Keys of the contexts whose files were checked for changes since the last `recheck_files`.
        self._checked_uses: set[tuple[Path | None, bool]] = set()

    def recheck_files(self) -> None:
        """Make the cache check each file for changes at its next use."""
        self._checked_uses.clear()

    def context(self, ca_file: Path | None, *, for_http: bool = False) -> ssl.SSLContext:
        """Return the context that trusts only the authorities in *ca_file*; `None`: those of the system.

        Raise `TrustStoreError`. *for_http*: whether the context is for HTTP clients, and not for mail servers.
        """
        use = ca_file, for_http
        cached = self._contexts.get(use)
        if cached is None or use not in self._checked_uses:
            authorities = None if ca_file is None else _read(ca_file)
            fingerprint = _fingerprint(authorities)
            if cached is None or cached[0] != fingerprint:
                created = (
                    _system_context(fingerprint, for_http=for_http)
                    if authorities is None
                    else _create_context(authorities)
                )
                cached = self._contexts[use] = fingerprint, created
            self._checked_uses.add(use)
        return cached[1]


def check_authorities(ca_file: Path | None, trust: Trust, findings: Findings) -> None:
    """Record a file of authorities that cannot be used."""
    try:
        trust.context(ca_file)
    except TrustStoreError as error:
        findings.error(str(error), "the path of a PEM file with certificates")


def _read(ca_file: Path) -> bytes:
    try:
        return read_regular(ca_file, _MAX_AUTHORITIES_OCTETS)
    except NotRegularFileError as error:
        raise TrustStoreError(translatable("{file} {error}", file=ca_file, error=str(error))) from None
    except (OSError, ValueError) as error:
        # The message omits the file's name, which may be a password that was written in the wrong place.
        raise TrustStoreError(translatable("cannot be read: {error}", error=error_reason(error))) from None


@lru_cache(maxsize=2)
def _system_context(_fingerprint: str, *, for_http: bool) -> ssl.SSLContext:  # noqa: ARG001 - key of the cache
    """Return a new context with the system's authorities, or a cached one.

    Reading hundreds of authorities is slow, so the context is cached by *_fingerprint* and *for_http*.
    """
    return ssl.create_default_context()


def _create_context(authorities: bytes) -> ssl.SSLContext:
    # Ignore text around the certificates, such as names of owners, which may be in any encoding. Replace an empty text,
    # for which `ssl` would load the system's authorities, by the invalid "-".
    text = authorities.decode("ascii", "ignore") or "-"
    try:
        return ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError):
        raise TrustStoreError("holds no certificates in PEM form") from None


def _fingerprint(authorities: bytes | None) -> str:
    """Return a text that changes when *authorities* change. `None`: the system's authorities."""
    if authorities is not None:
        return hashlib.sha256(authorities).hexdigest()
    # Reading the system's hundreds of authorities is slow. Their file or directory is replaced as a whole, so its
    # modification time is enough.
    default_paths = ssl.get_default_verify_paths()
    fingerprints = []
    for path in filter(None, (default_paths.cafile, default_paths.capath)):
        with suppress(OSError):
            fingerprints.append(f"{path} {Path(path).stat().st_mtime_ns}")
    return " ".join(fingerprints)
