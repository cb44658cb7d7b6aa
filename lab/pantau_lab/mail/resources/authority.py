"""Certificate authority of the lab, created anew at each start."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import trustme

from pantau_lab.mail.resources.tls import Tls

_SOMEBODY_ELSE = "mail.lain.example"
#: Validity of an expired certificate. The times have no zone, because trustme expects naive ones.
_LONG_AGO = datetime(2020, 1, 1), datetime(2021, 1, 1)  # noqa: DTZ001


class LabAuthority:
    """New certificate authority. Its certificate is written to *ca_file*, so that other programs can trust the lab."""

    def __init__(self, ca_file: Path) -> None:
        self._ca = trustme.CA(organization_name="Pantau lab", organization_unit_name="not for real mail")
        self._ca.cert_pem.write_to_path(str(ca_file))
        #: File with the certificate in PEM format.
        self.ca_file = ca_file

    def server_context(self, names: Iterable[str], tls: Tls = Tls.SOUND) -> ssl.SSLContext:
        """Return a server's TLS context with a certificate for *names*, localhost and 127.0.0.1.

        The *tls* states EXPIRED, OTHER_NAME and UNTRUSTED give a certificate with that fault.
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
        """Return a context that trusts only this authority. Share it, because creating one takes milliseconds."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ca.configure_trust(context)
        return context
