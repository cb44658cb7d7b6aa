"""Fault lab: mail systems of one agency and two references, with a configuration for `pantau probe`.

No service runs, and nobody is notified: the carrier and the fax service in the configuration do not exist.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from pantau_lab.config_files import DEMO, ProviderAccess, Timing, write
from pantau_lab.mail import LabNetwork, SystemPlan
from pantau_lab.serving import claimed
from pantau_lab.world import AGENCIES, REFERENCES

AGENCY = AGENCIES[0]
#: The discard port (RFC 863), at which usually nothing listens.
_UNUSED_URL = "http://127.0.0.1:9"
_NO_PROVIDERS = ProviderAccess(
    carrier_url=_UNUSED_URL,
    account_sid="AC" + "0" * 32,
    auth_token="tiada",
    from_number="+60100000000",
    fax_url=_UNUSED_URL,
    project_id="tiada",
    key_id="tiada",
    key_secret="tiada",
    fax_from_number="+60300000000",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultLab:
    """Running fault lab."""

    network: LabNetwork
    directory: Path
    #: Settings file, for `pantau probe --config`.
    settings: Path


@asynccontextmanager
async def fault_lab(directory: Path, *, timing: Timing = DEMO) -> AsyncIterator[FaultLab]:
    """Run the lab during the block, and write its configuration to *directory*."""
    domains = {AGENCY.code: AGENCY.domain} | {each.key: each.domain for each in REFERENCES}
    plans = [SystemPlan.with_one_mailbox(name, domain, tempo=timing.tempo) for name, domain in domains.items()]
    with claimed(2) as ports:
        listen, callbacks = (f"127.0.0.1:{port}" for port in ports)
        async with LabNetwork(plans, folder=directory) as network:
            settings = write(
                directory, network, _NO_PROVIDERS, timing, listen=listen, callbacks=callbacks, agencies=(AGENCY,)
            )
            yield FaultLab(network=network, directory=directory, settings=settings)
