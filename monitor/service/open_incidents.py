"""Changes that open incidents adopt from an edited configuration, and messages about them for the author of the edit.

An incident keeps the policy snapshot (escalation, and announcement to recipients) with which it opened. Only an edit of
contacts or recipients changes the snapshot. An incident without an agency concerns Pantau itself, and notifies the NOC.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from alerts.decide.edit import keeps_old_steps, merged_policy
from alerts.model.contact import Contact
from alerts.model.incident import Incident
from alerts.model.policy_snapshot import PolicySnapshot
from monitor.config.files.problem import Problem, Severity
from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import Configuration, stored_document_label
from monitor.model.translatable import TranslatableText, translatable

#: Maximum number of messages, one per incident. A last message gives the number of further incidents.
_MAX_MESSAGES = 20


class CurrentPolicies:
    """Policies that incidents would have if they opened now. Each policy is built on first use."""

    def __init__(self, configuration: Configuration) -> None:
        self._settings = configuration.settings
        self._agencies = configuration.registry.agencies
        #: By (agency code, "", ""); the NOC's policies by (subject in Malay, subject in English, policy name).
        self._policies: dict[tuple[str, str, str], PolicySnapshot] = {}
        #: Contacts by key, by agency code ("": the NOC).
        self._people_by_agency: dict[str, Mapping[str, Contact]] = {}

    def agency_policy(self, code: str) -> PolicySnapshot:
        """Return the policy of an agency. Raise `KeyError` if the agency is not configured."""
        policy = self._policies.get((code, "", ""))
        if policy is None:
            configured_policy = self._agencies[code].build_policy(self._settings.build_shared())
            policy = self._policies[code, "", ""] = self._settings.effective_policy(configured_policy)
        return policy

    def find_current(self, policy: PolicySnapshot) -> PolicySnapshot | None:
        """Return the policy that the open incident with *policy* would get now; `None`: its agency is not monitored."""
        if policy.agency and policy.agency not in self._agencies:
            return None
        # The cause of the problem and, for the NOC, the agency concerned are facts of the incident: keep them.
        current = (
            replace(self.agency_policy(policy.agency), cause=policy.cause)
            if policy.agency
            else self._noc_policy(policy)
        )
        # Stand-ins were notified only because of an override, and are not in the current policy: add them.
        if policy.escalation.stand_ins:
            people = self._replacement_contacts(policy.agency)
            stand_ins = tuple(people[each.key] for each in policy.escalation.stand_ins if each.key in people)
            current = replace(current, escalation=replace(current.escalation, stand_ins=stand_ins))
        return current

    def _noc_policy(self, policy: PolicySnapshot) -> PolicySnapshot:
        key = policy.subject, policy.subject_en, policy.policy_name
        current = self._policies.get(key)
        if current is None:
            current = self._policies[key] = self._settings.build_noc_policy(
                subject=policy.subject, subject_en=policy.subject_en, policy_name=policy.policy_name
            )
        return replace(current, of_agency=policy.of_agency)

    def _replacement_contacts(self, code: str) -> Mapping[str, Contact]:
        """Return the contacts that may replace a contact of an agency (of the NOC for the code ""), by key."""
        people = self._people_by_agency.get(code)
        if people is None:
            shared = self._settings.build_shared()
            own = self._agencies[code].build_contacts(shared) if code else self._settings.noc.build_contacts(shared)
            people = self._people_by_agency[code] = {**shared.contacts, **own}
        return people


def policy_changes(incidents: Collection[Incident], configuration: Configuration) -> Sequence[Problem]:
    """Return, for each open incident that adopts changes or keeps old steps, a message that says which."""
    problems = [*_policy_changes(incidents, configuration)]
    if len(problems) > _MAX_MESSAGES:
        remaining = translatable("and {count} more open incidents are affected", count=len(problems) - _MAX_MESSAGES)
        problems[_MAX_MESSAGES:] = [replace(problems[_MAX_MESSAGES], key="", message=remaining)]
    return problems


def _policy_changes(incidents: Collection[Incident], configuration: Configuration) -> Iterator[Problem]:
    settings, policies = configuration.settings, CurrentPolicies(configuration)
    for incident in incidents:
        before, current = incident.policy, policies.find_current(incident.policy)
        if current is None:
            continue
        after = merged_policy(before, current, is_released=incident.released_at is not None)
        messages = [*_differences(before, after)]
        if keeps_old_steps(after, current):
            messages.append(translatable("its steps, times and channels stay as they were when it opened"))
        if not messages:
            continue
        in_store = before.agency and settings.agencies == IN_DATABASE
        yield Problem(
            file=stored_document_label(before.agency) if in_store else str(settings.agencies),
            key=before.agency or "noc",
            message=translatable("{number} is open: {changes}", number=incident.number, changes=_joined(messages)),
            severity=Severity.WARNING,
        )


def _differences(before: PolicySnapshot, after: PolicySnapshot) -> Iterator[TranslatableText]:
    """Yield which contacts and recipients have new addresses, are removed, or are added."""
    old, new = _addresses_by_contact(before), _addresses_by_contact(after)
    changed = [name for key, (name, addresses) in new.items() if key in old and old[key][1] != addresses]
    removed = [name for key, (name, _) in old.items() if key not in new]
    added = [name for key, (name, _) in new.items() if key not in old]
    if changed:
        yield translatable(
            "new numbers for {names}, notified again there if only an old one was used", names=", ".join(changed)
        )
    if removed:
        yield translatable("no longer notified: {names}", names=", ".join(removed))
    if added:
        yield translatable("added, for the next notifications: {names}", names=", ".join(added))


def _addresses_by_contact(policy: PolicySnapshot) -> dict[tuple[str, str], tuple[str, object]]:
    """Return the name and the addresses of each contact, by role and key: a contact and a recipient may share a key."""
    staff = {("staff", each.key): (each.name, each.addresses) for each in policy.escalation.people}
    recipients = {
        ("recipient", each.key): (each.addressee.organisation, each.addresses)
        for each in policy.announcement.recipients
    }
    return {**staff, **recipients}


def _joined(messages: Sequence[TranslatableText]) -> TranslatableText:
    listed = messages[0]
    for message in messages[1:]:
        listed = translatable("{before}; {after}", before=listed, after=message)
    return listed
