"""What a service reads while it lives, read once by the process that all services of the stories come from.

It takes as long as all else that most of them do: libraries that are imported where they are used, and the pages' templates.
"""

from __future__ import annotations

import gc
from importlib import import_module
from inspect import signature
from typing import Any, Final
from unittest.mock import Mock

from alerts.wording.texts import load
from monitor.web.portal import page_templates
from tests.routes import read_once

_READ: Final = (
    "alembic.command",
    "alerts.gateways.sinch_fax",
    "alerts.gateways.tray",
    "alerts.gateways.twilio",
    "anyio._backends._asyncio",
    "checkdmarc.spf",
    "dkim",
    "dns.asyncresolver",
    "dns.rdtypes.ANY.SOA",
    "h2.connection",
    "holidays.countries",
    "httpcore",
    "httpcore2",
    "monitor.app",
    "monitor.cli.operation.run",
    "phonenumbers.data.region_MY",
    "probes.kinds.certificate",
    "probes.kinds.mx",
    "probes.kinds.negative",
    "probes.kinds.posture",
    "probes.kinds.retrieval",
    "probes.kinds.roundtrip",
    "probes.kinds.submission",
    "pydantic.v1",
    "pygments.lexers",
    "twilio.request_validator",
    "twilio.twiml.messaging_response",
    "twilio.twiml.voice_response",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.h11_impl",
)

for _name in _READ:
    import_module(_name)

# A service finds out what each of its routes asks for before anybody does: half of its start.
_never_closed: Final = read_once()
_app: Any = import_module("monitor.app")


def _made(name: str) -> Any:
    """Return the routes that *name* makes, before nothing: their schemas are known from then on."""
    make = getattr(_app, name)
    return make(*(Mock() for _ in signature(make).parameters))


_ORDERS: Final = (
    "declarations",
    "documents",
    "drills",
    "duties",
    "letter_orders",
    "paper",
    "records",
    "renames",
    "secrets_of",
    "silences",
    "statements",
    "tokens_of",
    "users_of",
)
_PARTS: Final = (
    "agency_documents",
    "incident_orders",
    "mailbox_logins",
    "override_orders",
    "silence_orders",
)
_app.control(Mock(), *map(_made, _ORDERS))
_app.portal(Mock(), ["localhost"], Mock(), Mock(), Mock(), once=Mock(), gate=Mock(), parts=list(map(_made, _PARTS)))

# The portal above is one of those that people sign in to.
page_templates(signs_in=False, openid="", site="")
load()

# Those that come from here look through none of this: to do so costs each as much as all else of its start.
gc.collect()
gc.freeze()
