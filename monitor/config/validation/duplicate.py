"""What may exist only once in the whole configuration, across files; and what may have been there before, called otherwise."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from monitor.config.fields.circular import domain_of
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Path, Problem, Severity
from monitor.config.model.registry import Agency
from monitor.model.lazy_text import said
from probes.model.domain import is_within


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A name that a file takes for itself."""

    #: What it is: "mailbox address".
    kind: str
    name: str
    path: Path
    #: What to write instead where it is taken.
    instead: str
    #: Goes without saying when this claim, of the same file, is refused.
    behind: Claim | None = None


class Claims:
    """All that one file claims, so that it is quickly compared with what thousands of others do."""

    __slots__ = ("_all", "_by_name")

    def __init__(self, claims: Sequence[Claim] = (), findings: Findings | None = None) -> None:
        """Take *claims* of the file with these *findings*; a blank claims nothing."""
        self._all = [each for each in claims if findings is None or not findings[each.path].is_blank]
        self._by_name = {_name(each): each for each in self._all}

    def __iter__(self) -> Iterator[Claim]:
        return iter(self._all)

    @property
    def names(self) -> Mapping[tuple[str, str], Claim]:
        """The claims by what they are of and the name, however that is written."""
        return self._by_name

    @property
    def is_sound(self) -> bool:
        """Whether the file claims nothing twice itself."""
        return len(self._by_name) == len(self._all)


def _name(claim: Claim) -> tuple[str, str]:
    return claim.kind, claim.name.casefold()


class Uniques:
    """Remembers where each name was first written."""

    def __init__(self) -> None:
        #: With the findings of the file in which it stands.
        self._first: dict[tuple[str, str], Claim] = {}
        self._files: dict[tuple[str, str], Findings] = {}

    def settle(self, claims: Claims, findings: Findings) -> None:
        """Remember the names that a file claims, or note in its *findings* that another place has them."""
        if claims.is_sound and self._first.keys().isdisjoint(claims.names):
            # As it is with nearly all of thousands.
            self._first.update(claims.names)
            self._files.update(dict.fromkeys(claims.names, findings))
            return
        refused: set[Claim] = set()
        for claim in claims:
            if claim.behind in refused:
                continue
            name = _name(claim)
            first = self._first.setdefault(name, claim)
            there = self._files.setdefault(name, findings)
            if first is claim and there is findings:
                continue
            refused.add(claim)
            findings[claim.path].error(
                said(
                    "the {kind} '{name}' is also at {where}",
                    kind=said(claim.kind),
                    name=claim.name,
                    where=there[first.path].where,
                ),
                claim.instead,
            )


def check_shared_domains(agencies: Mapping[str, Agency], files: Mapping[str, Findings]) -> None:
    """Note a domain of another agency that a file registers and has no address at: left over in a copy, probably.

    *files*: the findings of each agency's file, by its short code.
    """
    registered = [domain for agency in agencies.values() for domain in agency.domains]
    if len({*registered}) == len(registered):
        return
    owners: dict[str, list[str]] = {}
    for code, agency in agencies.items():
        for domain in dict.fromkeys(agency.domains):
            owners.setdefault(domain, []).append(code)
    for domain, codes in owners.items():
        for code in codes if codes[1:] else ():
            agency = agencies[code]
            if not any(is_within(domain_of(address), [domain]) for address in agency.addresses):
                first = next(other for other in codes if other != code)
                place = files[first]["domains"].where
                there = files[code]["domains", agency.domains.index(domain)]
                there.warning(
                    said(
                        "'{domain}' is also a domain of {first} ({place}), and no address here is at it",
                        domain=domain,
                        first=first,
                        place=place,
                    ),
                    "only the domains of this agency",
                )


def perhaps_renamed(was: Mapping[str, Collection[str]], becomes: Mapping[str, Agency], place: str) -> Sequence[Problem]:
    """Return a warning for each agency that has left while another came with one of its domains.

    *was*: the domains of the agencies that were there before, by their codes. *place*: where their files lie.
    """
    gone, come = was.keys() - becomes.keys(), becomes.keys() - was.keys()
    return [
        Problem(
            file=place,
            key=new,
            message=said(
                "{old} has left and {new} has come, with the same domain; what {old} has lived through is not {new}'s",
                old=old,
                new=new,
            ),
            instead=said("if it is the same agency: pantau rename agency {old} {new} (in a shell)", old=old, new=new),
            severity=Severity.WARNING,
        )
        for old in sorted(gone)
        for new in sorted(come)
        if {*was[old]} & {*becomes[new].domains}
    ]
