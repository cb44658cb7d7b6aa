"""The certificate authorities that mail servers are met with."""

from __future__ import annotations

import ssl
from pathlib import Path

from monitor.config.regular import NotRegular, check_regular

#: Some thirty times what a system trusts.
_AUTHORITIES_AT_MOST = 8 * 1024 * 1024


class NoTrust(Exception):
    """A file of authorities could not be used; the message says why."""


class Trust:
    """Makes one TLS context for each file of authorities: making one costs 4 ms of CPU, and hundreds of servers share it.

    A new `Trust` is made whenever the configuration is read, because the files may have changed.
    """

    def __init__(self) -> None:
        self._contexts: dict[Path | None, ssl.SSLContext] = {}

    def context(self, ca_file: Path | None) -> ssl.SSLContext:
        """Return the context that trusts the authorities in *ca_file* only, or the system's. Raise `NoTrust`."""
        if ca_file not in self._contexts:
            try:
                if ca_file is not None:
                    check_regular(ca_file, _AUTHORITIES_AT_MOST)
                self._contexts[ca_file] = ssl.create_default_context(cafile=ca_file)
            except NotRegular as error:
                raise NoTrust(f"{ca_file} {error}") from None
            except ssl.SSLError:
                raise NoTrust(f"{ca_file} holds no certificates in PEM form") from None
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else "no such file"
                raise NoTrust(f"{ca_file} cannot be read: {reason}") from None
        return self._contexts[ca_file]
