"""Permitted domains and addresses: the circular of 1 June 2007, paragraphs 3c to 3f.

The address decides, never its server: the official service of the government runs on Google.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from monitor.config.files.findings import Findings
from monitor.model.lazy_text import either, said
from probes.model.domain import is_within, normal_domain, parent_of

#: Suffixes of government domains (3d), each for one kind of body.
OFFICIAL_SUFFIXES = ("gov.my", "edu.my", "mil.my")

#: Providers with open registration (3f: "yahoo.com, gmail.com, streamyx.com.my dan sebagainya").
PRIVATE_PROVIDERS = (
    *("yahoo.com", "yahoo.com.my", "ymail.com", "rocketmail.com"),
    *("gmail.com", "googlemail.com"),
    *("streamyx.com.my", "streamyx.com", "tm.net.my", "jaring.my", "maxis.net.my"),
    *("hotmail.com", "hotmail.my", "outlook.com", "outlook.my", "live.com", "live.com.my", "msn.com"),
    *("icloud.com", "me.com", "mac.com", "aol.com", "proton.me", "protonmail.com", "zoho.com", "gmx.com", "mail.com"),
    *("yandex.com", "qq.com", "163.com"),
)


def domain_of(address: str) -> str:
    """Return the domain of a mail address in the form used for comparison."""
    return normal_domain(address.rpartition("@")[2])


def check_domains(
    domains: Iterable[str], suffixes: Collection[str], private_providers: Collection[str], findings: Findings
) -> None:
    """Record registered domains that belong to no agency."""
    written = list(domains)
    for number, domain in enumerate(written):
        there = findings[number]
        if domain in written[:number]:
            there.warning(said("'{domain}' is named twice", domain=domain), "it once")
        instead = said("a domain of the agency below {suffixes}", suffixes=either(suffixes))
        if is_within(domain, private_providers):
            there.error(said("'{domain}' is a private provider's domain (circular, 3f)", domain=domain), instead)
        elif normal_domain(domain) in OFFICIAL_SUFFIXES:
            there.error(said("'{domain}' is no domain of one agency", domain=domain), f"jabatan-contoh.{domain}")
        elif not is_within(domain, suffixes):
            there.error(
                said("'{domain}' has no official suffix (circular, 3d)", domain=domain),
                said("{instead}; or list its suffix in official_suffixes", instead=instead),
            )


def check_address(address: str, domains: Iterable[str], private_providers: Collection[str], findings: Findings) -> None:
    """Record an address of an agency that is not at one of its registered *domains*."""
    domain, registered = domain_of(address), list(domains)
    if is_within(domain, private_providers):
        findings.error(
            said("'{address}' is at a private provider (circular, 3f)", address=address),
            said("an address at {domains}", domains=either(registered)),
        )
    elif not is_within(domain, registered):
        findings.error(
            said("'{address}' is outside the agency's registered domains (circular, 3c and 3e)", address=address),
            said(
                "an address at {domains}, or register {domain} under domains", domains=either(registered), domain=domain
            ),
        )


def check_reference(
    address: str, suffixes: Collection[str], private_providers: Collection[str], findings: Findings
) -> None:
    """Record a reference mailbox that auditors would question; it belongs to no probed agency."""
    domain = domain_of(address)
    if is_within(domain, private_providers):
        findings.error(
            said("'{address}' is at a private provider (circular, 3f)", address=address),
            "an address of a partner agency",
        )
    elif parent_of(domain, suffixes) is None:
        findings.warning(
            said("'{address}' has no official suffix (circular, 3d)", address=address),
            "an address of a partner agency, if there is one",
        )
