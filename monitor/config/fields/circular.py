"""Permitted domains and addresses: the government's circular on e-mail of 1 June 2007, paragraphs 3c to 3f.

Only addresses and domains are checked, never their servers: the official mail service of the government runs at Google.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from monitor.config.files.findings import Findings
from monitor.model.translatable import any_of, translatable
from probes.model.domain import is_within, normalize_domain

#: Suffixes of official domains (3d): for government agencies, education and the armed forces.
OFFICIAL_SUFFIXES = ("gov.my", "edu.my", "mil.my")

#: Domains of providers at which anybody can register (3f: "yahoo.com, gmail.com, streamyx.com.my dan sebagainya").
PRIVATE_PROVIDERS = (
    *("yahoo.com", "yahoo.com.my", "ymail.com", "rocketmail.com"),
    *("gmail.com", "googlemail.com"),
    *("streamyx.com.my", "streamyx.com", "tm.net.my", "jaring.my", "maxis.net.my"),
    *("hotmail.com", "hotmail.my", "outlook.com", "outlook.my", "live.com", "live.com.my", "msn.com"),
    *("icloud.com", "me.com", "mac.com", "aol.com", "proton.me", "protonmail.com", "zoho.com", "gmx.com", "mail.com"),
    *("yandex.com", "qq.com", "163.com"),
)


def domain_of(address: str) -> str:
    """Return the domain of a mail address, normalised for comparisons."""
    return normalize_domain(address.rpartition("@")[2])


def check_domains(
    domains: Iterable[str], suffixes: Collection[str], private_providers: Collection[str], findings: Findings
) -> None:
    """Record registered *domains* of an agency that cannot belong to it. *suffixes*: the configured official ones."""
    registered = list(domains)
    for number, domain in enumerate(registered):
        domain_findings = findings[number]
        if domain in registered[:number]:
            domain_findings.warning(translatable("'{domain}' is named twice", domain=domain), "it once")
        instead = translatable("a domain of the agency below {suffixes}", suffixes=any_of(suffixes))
        if is_within(domain, private_providers):
            domain_findings.error(
                translatable("'{domain}' is a private provider's domain (circular, 3f)", domain=domain), instead
            )
        elif normalize_domain(domain) in OFFICIAL_SUFFIXES:
            domain_findings.error(
                translatable("'{domain}' is no domain of one agency", domain=domain), f"jabatan-contoh.{domain}"
            )
        elif not is_within(domain, suffixes):
            domain_findings.error(
                translatable("'{domain}' has no official suffix (circular, 3d)", domain=domain),
                translatable("{instead}; or list its suffix in official_suffixes", instead=instead),
            )


def check_address(address: str, domains: Iterable[str], private_providers: Collection[str], findings: Findings) -> None:
    """Record an address of an agency that is at a private provider, or not at one of its registered *domains*."""
    domain, registered = domain_of(address), list(domains)
    if is_within(domain, private_providers):
        findings.error(
            translatable("'{address}' is at a private provider (circular, 3f)", address=address),
            translatable("an address at {domains}", domains=any_of(registered)),
        )
    elif not is_within(domain, registered):
        findings.error(
            translatable(
                "'{address}' is outside the agency's registered domains (circular, 3c and 3e)", address=address
            ),
            translatable(
                "an address at {domains}, or register {domain} under domains", domains=any_of(registered), domain=domain
            ),
        )


def check_reference(
    address: str, suffixes: Collection[str], private_providers: Collection[str], findings: Findings
) -> None:
    """Record the *address* of a reference mailbox that the circular does not permit.

    A reference is a mailbox outside the probed agencies, so its address need not be at a registered domain.
    """
    domain = domain_of(address)
    if is_within(domain, private_providers):
        findings.error(
            translatable("'{address}' is at a private provider (circular, 3f)", address=address),
            "an address of a partner agency",
        )
    elif not is_within(domain, suffixes):
        findings.warning(
            translatable("'{address}' has no official suffix (circular, 3d)", address=address),
            "an address of a partner agency, if there is one",
        )
