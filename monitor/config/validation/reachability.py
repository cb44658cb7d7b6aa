"""Checks that every escalation step notifies somebody, and that every recipient of announcements has an address.

*Escalation* notifies staff. *Announcements* of an outage go to *recipients*, offices outside the agency. A *rota* is an
on-call schedule; the *fallback* is the contact who is notified if nobody in a rota is on call.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from alerts.model.channel import Channel
from monitor.config.agency.announcement import AnnouncementSettings, RecipientSettings, ReleaseMode
from monitor.config.agency.contact import ContactSettings
from monitor.config.agency.escalation import EscalationSettings, StepSettings
from monitor.config.agency.letterhead import check_glyphs, check_postal
from monitor.config.agency.rota import RotaSettings
from monitor.config.fields.phone import check_extension, check_number
from monitor.config.files.duration import format_duration
from monitor.config.files.findings import Findings
from monitor.config.files.problem import suggest
from monitor.config.model.registry import Agency
from monitor.config.model.settings import ServiceMode, Settings, SettingsContext
from monitor.model.translatable import any_of, translatable

_DAY = timedelta(days=1)
_MIN_ACKNOWLEDGEMENT_TIMEOUT = timedelta(minutes=5)
_MIN_REPEAT_INTERVAL = timedelta(minutes=15)

#: Malaysian honorifics, which a letter must repeat in its salutation. "Datuk Bandar" (mayor) is an office, not one.
_HONORIFIC = re.compile(
    r"\b(?:YAB|YAM|YM|YB|YBhg)\b\.?(?: (?:Tan Sri|Tun|Dato'?|Datuk|Datin)\b)?"
    r"|\b(?:Tan Sri|Datin|Dato'|Datuk)(?! Bandar)(?:\b|(?<='))"
)

#: Example of an address in the configuration, by channel.
_EXAMPLES = {
    Channel.SMS: "sms: 010-000 0000",
    Channel.VOICE: "voice: 03-1234 5678",
    Channel.FAX: "fax: 03-1234 5678",
    Channel.LETTER: "address: [Aras 1, Blok Contoh, 62000 PUTRAJAYA]",
}


@dataclass(frozen=True, slots=True)
class Staff:
    """Contacts and rotas that are in the same file as the escalation policy."""

    contacts: Mapping[str, ContactSettings]
    #: Findings of the section `contacts`.
    findings: Findings
    rotas: Mapping[str, RotaSettings] = field(default_factory=dict)


def check_escalation(
    policy: EscalationSettings, staff: Staff, settings_context: SettingsContext, findings: Findings
) -> None:
    """Record steps of an escalation *policy* that would notify nobody, and implausible times.

    A *round* of all steps is followed by the next one after `repeat_after`. After the last round, the first step is
    repeated at the `repeat_interval`.
    """
    if not policy.steps:
        findings["steps"].error("nobody is notified", "at least one step with contacts and channels")
    step_check = _StepCheck(staff, settings_context)
    for number, step in enumerate(policy.steps):
        key_findings = findings["steps", number]
        if number and not step.after:
            key_findings["after"].warning(
                "starts together with the previous step", "after: 5m, or its contacts in the previous step"
            )
        if step.after > _DAY:
            key_findings["after"].warning("starts more than a day after the previous step", "after: 15m")
        else:
            _check_wait(step.after, policy, key_findings["after"])
        if step.redial and Channel.VOICE not in step.channels and not key_findings["channels"].is_broken:
            instead = "voice among its channels, or no redial"
            key_findings["redial"].warning("nobody is called in this step", instead)
        _check_channels(step.channels, settings_context, key_findings["channels"])
        step_check.check_step(step, key_findings)
    if policy.repeat_after > _DAY:
        findings["repeat_after"].warning("nobody is notified again for more than a day", "repeat_after: 15m")
    else:
        _check_wait(policy.repeat_after, policy, findings["repeat_after"])
    if policy.repeat_interval > _DAY:
        findings["repeat_interval"].warning("nobody is notified again for more than a day", "repeat_interval: 1h")
    elif policy.repeat_interval < _MIN_REPEAT_INTERVAL:
        findings["repeat_interval"].warning(
            "people are called all night, as often as one telephone may be called", "repeat_interval: 1h"
        )
    _check_acknowledgement_timeout(policy.acknowledgement_timeout, findings["acknowledgement_timeout"])
    step_check.check_fallback(policy, findings["fallback"])


def _check_wait(wait: timedelta, policy: EscalationSettings, findings: Findings) -> None:
    """Record a *wait* between two notifications that is longer than the repeat interval."""
    if wait > policy.repeat_interval:
        interval = format_duration(policy.repeat_interval)
        findings.warning(
            translatable("is longer than repeat_interval, {interval}: nobody is notified meanwhile", interval=interval),
            translatable("at most {interval}, or a longer repeat_interval", interval=interval),
        )


def _check_acknowledgement_timeout(timeout: timedelta, findings: Findings) -> None:
    """Record a *timeout* that leaves no time to extend an acknowledgement, or that stops escalation for too long."""
    if timeout < _MIN_ACKNOWLEDGEMENT_TIMEOUT:
        findings.error("it expires before anybody could be reminded and answer", "acknowledgement_timeout: 1h")
    elif timeout > _DAY:
        findings.warning(
            "nobody else is notified for more than a day after one person acknowledged", "acknowledgement_timeout: 1h"
        )


@dataclass(frozen=True, slots=True)
class _StepCheck:
    """Check whether all contacts of escalation steps can be notified."""

    staff: Staff
    settings_context: SettingsContext

    def check_step(self, step: StepSettings, findings: Findings) -> None:
        """Record unknown contacts and rotas, and people whom the step's channels cannot reach."""
        _record_duplicates(step.contacts, findings["contacts"])
        _record_duplicates(step.rotas, findings["rotas"])
        if not step.contacts and not step.rotas and not findings["rotas"].is_broken:
            instead = "the key of at least one contact, or of a rota under rotas"
            findings["contacts"].error("the step reaches nobody", instead)
        # With an invalid channel, it is unknown whether the step reaches a contact: check no channel.
        channels = () if findings["channels"].is_broken else step.channels
        for number, key in enumerate(step.contacts):
            self._check_contact(key, channels, findings["contacts", number])
        for number, key in enumerate(step.rotas):
            self._check_rota(key, channels, findings["rotas", number])

    def check_fallback(self, policy: EscalationSettings, findings: Findings) -> None:
        """Record a fallback that is unknown, unreachable, or never notified."""
        if policy.fallback is None or findings.is_broken:
            return
        steps = [step for step in policy.steps if step.rotas]
        if not steps:
            findings.error("is never notified: no step names a rota", "rotas: [KEY] in a step, or no fallback")
        for step in steps:
            self._check_contact(policy.fallback, step.channels, findings)

    def _check_rota(self, key: str, channels: Sequence[Channel], findings: Findings) -> None:
        rota = self.staff.rotas.get(key) or (self.settings_context.rotas or {}).get(key)
        if rota is None:
            if self.settings_context.rotas is not None and not findings.root["rotas"].is_blank:
                findings.error(
                    translatable("there is no rota '{key}'", key=key),
                    suggest(key, self._rotas, f"rotas: {{{key}: ...}}"),
                )
            return
        for person in dict.fromkeys(person for layer in rota.layers for person in layer.people):
            # An unknown contact has already been recorded at the rota.
            if person in self._contacts:
                self._check_contact(person, channels, findings)

    def _check_contact(self, key: str, channels: Sequence[Channel], findings: Findings) -> None:
        contact = self._contacts.get(key)
        if contact is None:
            if self.settings_context.contacts is not None and not self.staff.findings.is_blank:
                findings.error(
                    translatable("there is no contact '{key}'", key=key),
                    suggest(key, self._contacts, f"contacts: {{{key}: ...}}"),
                )
        elif (
            channels and not self._has_errors(key) and not any(contact.has_address_for(channel) for channel in channels)
        ):
            channel_names = any_of(channels)
            examples = any_of(_EXAMPLES[channel] for channel in channels if channel is not Channel.LETTER)
            instead = (
                translatable("{examples} for {key}", examples=examples, key=key)
                if examples
                else "sms or voice in channels: staff get no letters"
            )
            findings.error(
                translatable(
                    "the step does not reach '{key}', who has no address for {ways}",
                    key=key,
                    ways=channel_names,
                ),
                instead,
            )

    def _has_errors(self, key: str) -> bool:
        # A contact with invalid settings is not checked: its errors have been recorded, and it may be reachable.
        if key in self.staff.contacts:
            return self.staff.findings[key].is_broken
        return key in self.settings_context.contacts_with_errors

    @property
    def _contacts(self) -> Mapping[str, ContactSettings]:
        return {**(self.settings_context.contacts or {}), **self.staff.contacts}

    @property
    def _rotas(self) -> Mapping[str, RotaSettings]:
        return {**(self.settings_context.rotas or {}), **self.staff.rotas}


def check_announcement(
    plan: AnnouncementSettings, first_step: StepSettings | None, settings_context: SettingsContext, findings: Findings
) -> None:
    """Record recipients that cannot be notified, or that could be notified before the staff in *first_step*.

    `release_offered_after` is the duration of an outage after which its announcement is released automatically, or may
    be released by a person.
    """
    if (
        plan.release is ReleaseMode.AUTOMATIC
        and first_step is not None
        and plan.release_offered_after <= first_step.after
    ):
        findings["release_offered_after"].error(
            "would notify recipients before staff",
            translatable(
                "more than the {after} after which the first step notifies staff, or release: manual",
                after=format_duration(first_step.after),
            ),
        )
    first_keys: dict[tuple[str, str], str] = {}
    for key, recipient in plan.recipients.items():
        key_findings = findings["recipients", key]
        office = (recipient.title.casefold(), recipient.organisation.casefold())
        if office in first_keys and not key_findings.is_broken:
            first = findings["recipients", first_keys[office]].location_text
            key_findings.error(
                translatable("is the same office as the recipient at {first}", first=first),
                "one entry with all its channels",
            )
        first_keys.setdefault(office, key)
        _check_channels(recipient.channels, settings_context, key_findings["channels"])
        _check_addresses(recipient, key_findings)


def _check_addresses(recipient: RecipientSettings, findings: Findings) -> None:
    # Skip invalid channels, which have been replaced by blanks.
    valid_channels = [c for n, c in enumerate(recipient.channels) if not findings["channels", n].is_broken]
    for channel in dict.fromkeys(valid_channels):
        field = "address" if channel is Channel.LETTER else channel.value
        if not recipient.has_address_for(channel) and not findings[field].is_broken:
            findings.error(translatable("has no address for {channel}", channel=channel), _EXAMPLES[channel])
    for channel in (Channel.SMS, Channel.VOICE, Channel.FAX):
        if number := getattr(recipient, channel.value):
            check_number(number, channel, findings[channel.value])
    check_extension(recipient.extension, recipient.voice, findings, "voice")
    check_postal(recipient.address, findings["address"])
    if {Channel.FAX, Channel.LETTER} & set(recipient.channels):
        check_glyphs(recipient, findings)
    if (honorific := _HONORIFIC.search(recipient.title)) and "salutation" not in recipient.model_fields_set:
        findings["title"].warning(
            translatable(
                "contains the honorific '{style}', but the salutation is '{salutation}'",
                style=honorific[0],
                salutation=recipient.salutation,
            ),
            f'salutation: "{honorific[0]},"',
        )


def _check_channels(channels: tuple[Channel, ...], settings_context: SettingsContext, findings: Findings) -> None:
    _record_duplicates(channels, findings)
    if not channels:
        findings.error("no channel is named", "sms, voice, fax or letter")
    for number, channel in enumerate(channels):
        if settings_context.channels is not None and channel not in settings_context.channels:
            findings[number].error(
                translatable("no gateway is configured for {channel}", channel=channel),
                translatable(
                    "gateways: {{{channel}: [...]}} in the settings file, or another channel", channel=channel
                ),
            )


def check_rotas_used(
    settings: Settings, agencies: Mapping[str, Agency], findings_by_code: Mapping[str, Findings]
) -> None:
    """Record rotas that no step uses, whose on-call staff would never be notified.

    *findings_by_code*: the findings of each agency's file by its short code, those of the settings file by "".
    """
    if settings.mode is ServiceMode.MONITOR_ONLY:
        return
    used_keys = frozenset[str]().union(*(policy.rota_keys for _, policy in _policies(settings, agencies)))
    for key in settings.rotas:
        if key not in used_keys:
            findings_by_code[""]["rotas", key].warning(
                "is named by no step, so nobody is notified by it", _rota_remedy(key)
            )
    for code, agency in agencies.items():
        for key in agency.rotas:
            if key not in agency.escalation.rota_keys:
                findings_by_code[code]["rotas", key].warning(
                    "is named by no step, so nobody is notified by it", _rota_remedy(key)
                )


def rotas_with_fallback(settings: Settings, agencies: Mapping[str, Agency]) -> frozenset[str]:
    """Return the names of the rotas that have a fallback in every policy that names them."""
    named: set[str] = set()
    without_fallback: set[str] = set()
    for code, policy in _policies(settings, agencies):
        agency_rotas = agencies[code].rotas if code else {}
        names = {f"{code}/{key}" if key in agency_rotas else key for key in policy.rota_keys}
        named |= names
        if policy.fallback is None:
            without_fallback |= names
    return frozenset(named - without_fallback)


def _policies(settings: Settings, agencies: Mapping[str, Agency]) -> Iterator[tuple[str, EscalationSettings]]:
    """Yield all escalation policies, each with the code of its agency; "" for those of the settings file."""
    receive = settings.alertmanager and settings.alertmanager.receive
    yield "", settings.noc.escalation
    yield from (("", route.escalation) for route in (receive.routes.values() if receive else ()))
    yield from ((code, agency.escalation) for code, agency in agencies.items())


def _rota_remedy(rota: str) -> str:
    return translatable("rotas: [{rota}] in a step, or leave it out", rota=rota)


def _record_duplicates(items: Iterable[str], findings: Findings) -> None:
    item_list = list(items)
    for item, times in Counter(item_list).items():
        if times > 1:
            last = len(item_list) - 1 - item_list[::-1].index(item)
            findings[last].error(translatable("'{item}' is named twice", item=item), "it once")
