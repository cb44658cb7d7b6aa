"""What a service reads while it lives, read once by the process that all services of the stories come from.

It takes as long as all else that most of them do: libraries that are imported where they are used, and the pages' templates.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

_READ: Final = (
    "alembic.command",
    "alerts.gateways.sinch_fax",
    "alerts.gateways.tray",
    "alerts.gateways.twilio",
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

import_module("monitor.web.portal").page_templates()
