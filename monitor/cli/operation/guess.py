"""Where the servers of an address may be: what its domain's DNS says (RFC 6186, RFC 8314), or whose mail exchangers it has.

A guess is a suggestion to a person and no more: it is tried before it is believed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from monitor.config.fields.circular import is_within
from probes.domain.names import DnsUnanswered, Names
from probes.model.check import NameServers

#: For one question, and for all of them: somebody waits before the second question.
_QUESTION = timedelta(seconds=2)
_WHOLE_SECONDS = 6.0

_GOOGLE = ("smtp.gmail.com", "imap.gmail.com")
_MICROSOFT = ("smtp.office365.com:587", "outlook.office365.com")
#: By the ends of exchangers' names.
_BY_EXCHANGER = {("google.com", "googlemail.com"): _GOOGLE, ("outlook.com",): _MICROSOFT}
#: What such hosts are usually called, in Malay and in English.
_USUAL = ("mel", "mail", "webmel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """Where servers may be, as a person would write it; "": nowhere that is known."""

    smtp: str = ""
    imap: str = ""


async def guess(domain: str, servers: NameServers | None = None) -> Guess:
    """Return where the servers of *domain* may be. Never raises for what the DNS says, or does not."""
    names = Names(servers or NameServers(within=_QUESTION))
    try:
        async with asyncio.timeout(_WHOLE_SECONDS):
            return await _announced(names, domain) or await _by_exchanger(names, domain) or await _usual(names, domain)
    except (DnsUnanswered, TimeoutError):
        return Guess()


async def _announced(names: Names, domain: str) -> Guess | None:
    smtp = await _service(names, domain, ("_submissions", ""), ("_submission", " starttls"))
    imap = await _service(names, domain, ("_imaps", ""), ("_imap", " starttls"))
    return Guess(smtp=smtp, imap=imap) if smtp or imap else None


async def _service(names: Names, domain: str, *services: tuple[str, str]) -> str:
    for service, security in services:
        records = sorted(
            (await names.ask(f"{service}._tcp.{domain}", "SRV")).records,
            key=lambda record: (record.priority, -record.weight),  # type: ignore[attr-defined]
        )
        for record in records:
            host = record.target.to_text(omit_final_dot=True)  # type: ignore[attr-defined]
            if host and host != ".":
                return f"{host}:{record.port}{security}"  # type: ignore[attr-defined]
    return ""


async def _by_exchanger(names: Names, domain: str) -> Guess | None:
    records = (await names.ask(domain, "MX")).records
    exchangers = [record.exchange.to_text(omit_final_dot=True).lower() for record in records]  # type: ignore[attr-defined]
    return whose(exchangers)


def whose(exchangers: Sequence[str]) -> Guess | None:
    """Return the servers of the provider whose mail exchangers these are; `None` when it is nobody in particular."""
    for ends, (smtp, imap) in _BY_EXCHANGER.items():
        if any(is_within(exchanger, ends) for exchanger in exchangers):
            return Guess(smtp=smtp, imap=imap)
    return None


async def _usual(names: Names, domain: str) -> Guess:
    for name in _USUAL:
        host = f"{name}.{domain}"
        if await names.addresses(host):
            return Guess(smtp=host, imap=host)
    return Guess()
