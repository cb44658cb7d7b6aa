"""Trust for the fictional agencies: a certificate authority that lives as long as the lab."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from pathlib import Path

import trustme


class LabAuthority:
    """Make a new authority and write its certificate, so that other programs can trust the lab as well."""

    def __init__(self, ca_file: Path) -> None:
        self._ca = trustme.CA(organization_name="Pantau lab", organization_unit_name="not for real mail")
        self._ca.cert_pem.write_to_path(str(ca_file))
        #: Where the certificate is, in PEM.
        self.ca_file = ca_file

    def server_context(self, names: Iterable[str]) -> ssl.SSLContext:
        """Return what a server needs to be met as any of the names, as localhost, or as 127.0.0.1."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert("localhost", "127.0.0.1", *names).configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts this authority and nothing else. Share it: making one costs milliseconds."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        return context
