"""With whom TLS is spoken when no configuration says it."""

from __future__ import annotations

import ssl
from functools import cache


@cache
def public() -> ssl.SSLContext:
    """Return the context that trusts the authorities that this machine trusts. Making one takes a while; it is shared."""
    return ssl.create_default_context()


@cache
def blind() -> ssl.SSLContext:
    """Return the context that takes any certificate: to read it, never to trust it with anything."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
