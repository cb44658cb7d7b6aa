"""Changes that open incidents adopt from an edited configuration, and the messages about them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from alerts.decide.edit import edited, keeps_plan
from alerts.model.contact import Contact
from alerts.model.incident import Incident
from alerts.model.policy_snapshot import PolicySnapshot
from monitor.config.files.problem import Problem, Severity
from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import Configuration, called_in_store
from monitor.model.lazy_text import LazyText, said

#: The last line gives the number of further ones.
_SAID_AT_MOST = 20


class PresentBriefs:
    """Policies that incidents would have if they opened now; each is built on first use."""

    def __init__(self, configuration: Configuration) -> None:
        self._settings = configuration.settings
        self._agencies = configuration.registry.agencies
        self._made: dict[tuple[str, str, str], PolicySnapshot] = {}
        self._people: dict[str, Mapping[str, Contact]] = {}

    def of_agency(self, code: str) -> PolicySnapshot:
        """Return the policy of an agency. Raise `KeyError`: it is not configured."""
        made = self._made.get((code, "", ""))
        if made is None:
            brief = self._agencies[code].brief(self._settings.shared())
            made = self._made[code, "", ""] = self._settings.heeded(brief)
        return made

    def of(self, before: PolicySnapshot) -> PolicySnapshot | None:
        """Return the policy that an incident with the policy *before* would have now; `None`: its agency is no longer monitored."""
        if before.agency and before.agency not in self._agencies:
            return None
        present = replace(self.of_agency(before.agency), cause=before.cause) if before.agency else self._of_noc(before)
        if before.escalation.stand_ins:
            people = self._contacts(before.agency)
            stand_ins = tuple(people[each.key] for each in before.escalation.stand_ins if each.key in people)
            present = replace(present, escalation=replace(present.escalation, stand_ins=stand_ins))
        return present

    def _of_noc(self, before: PolicySnapshot) -> PolicySnapshot:
        about = before.subject, before.subject_en, before.policy_name
        made = self._made.get(about)
        if made is None:
            made = self._made[about] = self._settings.noc_brief(
                subject=before.subject, subject_en=before.subject_en, told_by=before.policy_name
            )
        return replace(made, of_agency=before.of_agency)

    def _contacts(self, code: str) -> Mapping[str, Contact]:
        """Return the contacts that may replace one of an agency, or of the operations centre, by key."""
        people = self._people.get(code)
        if people is None:
            shared = self._settings.shared()
            own = self._agencies[code].build_people(shared) if code else self._settings.noc.build_people(shared)
            people = self._people[code] = {**shared.people, **own}
        return people


def taken_over(incidents: Collection[Incident], configuration: Configuration) -> Sequence[Problem]:
    """Return the changes that each open incident adopts and what it keeps; incidents that are not affected are left out."""
    found = [*_taken_over(incidents, configuration)]
    if len(found) > _SAID_AT_MOST:
        more = said("and {count} more incidents are open that this concerns", count=len(found) - _SAID_AT_MOST)
        found[_SAID_AT_MOST:] = [replace(found[_SAID_AT_MOST], key="", message=more)]
    return found


def _taken_over(incidents: Collection[Incident], configuration: Configuration) -> Iterator[Problem]:
    settings, briefs = configuration.settings, PresentBriefs(configuration)
    for incident in incidents:
        before, present = incident.policy, briefs.of(incident.policy)
        if present is None:
            continue
        after = edited(before, present, is_released=incident.released_at is not None)
        words = [*_differences(before, after)]
        if keeps_plan(after, present):
            words.append(said("its steps, times and channels stay as they were when it opened"))
        if not words:
            continue
        in_store = before.agency and settings.agencies == IN_DATABASE
        yield Problem(
            file=called_in_store(before.agency) if in_store else str(settings.agencies),
            key=before.agency or "noc",
            message=said("{number} is open: {changes}", number=incident.number, changes=_listed(words)),
            severity=Severity.WARNING,
        )


def _differences(before: PolicySnapshot, after: PolicySnapshot) -> Iterator[LazyText]:
    was = {**_people(before)}
    becomes = {**_people(after)}
    moved = [name for key, (name, addresses) in becomes.items() if key in was and was[key][1] != addresses]
    gone = [name for key, (name, _) in was.items() if key not in becomes]
    new = [name for key, (name, _) in becomes.items() if key not in was]
    if moved:
        yield said("new numbers for {names}, told again there if only an old one was used", names=", ".join(moved))
    if gone:
        yield said("no longer told: {names}", names=", ".join(gone))
    if new:
        yield said("added, for whatever is sent next: {names}", names=", ".join(new))


def _people(brief: PolicySnapshot) -> dict[tuple[str, str], tuple[str, object]]:
    staff = {("", each.key): (each.name, each.addresses) for each in brief.escalation.people}
    outside = {
        ("outside", each.key): (each.addressee.organisation, each.addresses) for each in brief.announcement.recipients
    }
    return {**staff, **outside}


def _listed(words: Sequence[LazyText]) -> LazyText:
    listed = words[0]
    for word in words[1:]:
        listed = said("{before}; {after}", before=listed, after=word)
    return listed
