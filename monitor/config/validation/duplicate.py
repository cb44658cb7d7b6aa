"""Uniqueness of names across all files, and detection of renamed agencies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from monitor.config.fields.circular import domain_of
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Path, Problem, Severity
from monitor.config.model.registry import Agency
from monitor.model.translatable import translatable
from probes.model.domain import is_within


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Claim of a file to a name that no other file may use, and no other part of the same file."""

    #: Kind of the name: "mailbox address". Names of different kinds may be equal.
    kind: str
    name: str
    #: Path of the value in the file that claims the name.
    path: Path
    #: What to write instead if the name is already claimed.
    instead: str
    #: Another claim of the same file: for a folder of a mailbox, the claim to the mailbox's address. If the other claim is rejected,
    #: this claim is not reported, because the cause would be the same.
    depends_on: Claim | None = None


class Claims:
    """All claims of one file, indexed for a fast comparison with the claims of thousands of files."""

    __slots__ = ("_all", "_by_name")

    def __init__(self, claims: Sequence[Claim] = (), findings: Findings | None = None) -> None:
        """Index the *claims* of a file.

        Blanks (substitutes for invalid values, which *findings* identify) claim nothing.
        """
        self._all = [each for each in claims if findings is None or not findings[each.path].is_blank]
        self._by_name = {_unique_key(each): each for each in self._all}

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._all)

    @property
    def names(self) -> Mapping[tuple[str, str], Claim]:
        """The claims by kind and normalised name."""
        return self._by_name

    @property
    def is_unique(self) -> bool:
        """Whether no claim of the file repeats another of the same file."""
        return len(self._by_name) == len(self._all)


def _unique_key(claim: Claim) -> tuple[str, str]:
    return claim.kind, claim.name.casefold()


class NameRegistry:
    """Registry of the first claim to each name."""

    def __init__(self) -> None:
        #: The first claim to each name, and the findings of its file; both by kind and normalised name.
        self._first_claims: dict[tuple[str, str], Claim] = {}
        self._first_findings: dict[tuple[str, str], Findings] = {}

    def register(self, claims: Claims, findings: Findings) -> None:
        """Register the claims of a file. Record in *findings* each name that is claimed already."""
        if claims.is_unique and self._first_claims.keys().isdisjoint(claims.names):
            # Fast path for nearly all of thousands of files.
            self._first_claims.update(claims.names)
            self._first_findings.update(dict.fromkeys(claims.names, findings))
            return
        rejected: set[Claim] = set()
        for claim in claims:
            if claim.depends_on in rejected:
                continue
            unique_key = _unique_key(claim)
            first_claim = self._first_claims.setdefault(unique_key, claim)
            first_findings = self._first_findings.setdefault(unique_key, findings)
            # This claim is the first.
            if first_claim is claim and first_findings is findings:
                continue
            rejected.add(claim)
            findings[claim.path].error(
                translatable(
                    "the {kind} '{name}' is also at {where}",
                    kind=translatable(claim.kind),
                    name=claim.name,
                    where=first_findings[first_claim.path].location_text,
                ),
                claim.instead,
            )


def check_shared_domains(agencies: Mapping[str, Agency], findings_by_code: Mapping[str, Findings]) -> None:
    """Record a domain that two agencies register, at each of them that has no address in the domain.

    The domain is probably left over from a copied file. *findings_by_code*: the findings of each agency's file.
    """
    registered = [domain for agency in agencies.values() for domain in agency.domains]
    if len({*registered}) == len(registered):
        return
    codes_by_domain: dict[str, list[str]] = {}
    for code, agency in agencies.items():
        for domain in dict.fromkeys(agency.domains):
            codes_by_domain.setdefault(domain, []).append(code)
    for domain, codes in codes_by_domain.items():
        for code in codes if len(codes) > 1 else ():
            agency = agencies[code]
            if not any(is_within(domain_of(address), [domain]) for address in agency.addresses):
                first = next(other_code for other_code in codes if other_code != code)
                place = findings_by_code[first]["domains"].location_text
                domain_findings = findings_by_code[code]["domains", agency.domains.index(domain)]
                domain_findings.warning(
                    translatable(
                        "'{domain}' is also a domain of {first} ({place}), and no address here uses it",
                        domain=domain,
                        first=first,
                        place=place,
                    ),
                    "only the domains of this agency",
                )


def detect_renames(
    previous_domains: Mapping[str, Collection[str]], agencies: Mapping[str, Agency], directory: str
) -> Sequence[Problem]:
    """Return a warning for each pair of a removed and a new agency that have a domain in common.

    Such a pair is probably one agency with a new code, whose history would be lost. *previous_domains*: the domains of
    the previous agencies, by code. *directory*: the directory of the agency files.
    """
    removed, added = previous_domains.keys() - agencies.keys(), agencies.keys() - previous_domains.keys()
    return [
        Problem(
            file=directory,
            key=new,
            message=translatable(
                "{old} was removed and {new} was added, with the same domain: {new} does not have the history of {old}",
                old=old,
                new=new,
            ),
            instead=translatable(
                "if it is the same agency: pantau rename agency {old} {new} (in a shell)", old=old, new=new
            ),
            severity=Severity.WARNING,
        )
        for old in sorted(removed)
        for new in sorted(added)
        if {*previous_domains[old]} & {*agencies[new].domains}
    ]
