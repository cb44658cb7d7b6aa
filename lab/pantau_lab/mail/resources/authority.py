"""Trust for the fictional agencies: a certificate authority that lives as long as the lab."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import trustme

from pantau_lab.mail.resources.tls import Tls

_SOMEBODY_ELSE = "mail.lain.example"
#: Without a zone, as the library wants it.
_LONG_AGO = datetime(2020, 1, 1), datetime(2021, 1, 1)  # noqa: DTZ001


class LabAuthority:
    """Make a new authority and write its certificate, so that other programs can trust the lab as well."""

    def __init__(self, ca_file: Path) -> None:
        self._ca = trustme.CA(organization_name="Pantau lab", organization_unit_name="not for real mail")
        self._ca.cert_pem.write_to_path(str(ca_file))
        #: Where the certificate is, in PEM.
        self.ca_file = ca_file

    def server_context(self, names: Iterable[str], tls: Tls = Tls.SOUND) -> ssl.SSLContext:
        """Return what a server needs to be met as any of the names, as localhost, or as 127.0.0.1.

        With another *tls* than a sound one, it is met with that certificate.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._certificate(("localhost", "127.0.0.1", *names), tls).configure_cert(context)
        return context

    def _certificate(self, names: tuple[str, ...], tls: Tls) -> trustme.LeafCert:
        match tls:
            case Tls.EXPIRED:
                begin, end = _LONG_AGO
                return self._ca.issue_cert(*names, not_before=begin, not_after=end)
            case Tls.OTHER_NAME:
                return self._ca.issue_cert(_SOMEBODY_ELSE)
            case Tls.UNTRUSTED:
                return trustme.CA(organization_name="Pantau lab, trusted by nobody").issue_cert(*names)
            case _:
                return self._ca.issue_cert(*names)

    def client_context(self) -> ssl.SSLContext:
        """Return a context that trusts this authority and nothing else. Share it: making one costs milliseconds."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        return context
