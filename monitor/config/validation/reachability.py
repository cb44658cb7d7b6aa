"""Reachability checks: escalation steps that notify nobody, and recipients without an address."""

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
from monitor.config.files.problem import one_of
from monitor.config.model.registry import Agency
from monitor.config.model.settings import ServiceMode, Settings, SettingsContext
from monitor.model.lazy_text import either, said

_A_DAY = timedelta(days=1)
_SHORTEST_PROMISE = timedelta(minutes=5)
_SHORTEST_REPEAT = timedelta(minutes=15)

#: Honorifics that a letter requires for certain offices and persons; "Datuk Bandar" is an office.
_HONORIFIC = re.compile(
    r"\b(?:YAB|YAM|YM|YB|YBhg)\b\.?(?: (?:Tan Sri|Tun|Dato'?|Datuk|Datin)\b)?"
    r"|\b(?:Tan Sri|Datin|Dato'|Datuk)(?! Bandar)(?:\b|(?<='))"
)

_EXAMPLES = {
    Channel.SMS: "sms: 010-000 0000",
    Channel.VOICE: "voice: 03-1234 5678",
    Channel.FAX: "fax: 03-1234 5678",
    Channel.LETTER: "address: [Aras 1, Blok Contoh, 62000 PUTRAJAYA]",
}


@dataclass(frozen=True, slots=True)
class Staff:
    """Contacts and rotas of the same file as a policy, with their location."""

    contacts: Mapping[str, ContactSettings]
    findings: Findings
    rotas: Mapping[str, RotaSettings] = field(default_factory=dict)


def check_escalation(policy: EscalationSettings, staff: Staff, provision: SettingsContext, findings: Findings) -> None:
    """Record escalation steps that would notify nobody."""
    if not policy.steps:
        findings["steps"].error("nobody is told", "at least one step with contacts and channels")
    look = _StepLook(staff, provision)
    for number, step in enumerate(policy.steps):
        there = findings["steps", number]
        if number and not step.after:
            there["after"].warning(
                "comes together with the step before", "after: 5m, or its contacts in the step before"
            )
        if step.after > _A_DAY:
            there["after"].warning("comes more than a day after the step before", "after: 15m")
        else:
            _check_quiet(step.after, policy, there["after"])
        if step.redial and Channel.VOICE not in step.channels and not there["channels"].is_broken:
            instead = "voice among its channels, or no redial"
            there["redial"].warning("nobody is called in this step", instead)
        _check_channels(step.channels, provision, there["channels"])
        look.at(step, there)
    if policy.repeat_after > _A_DAY:
        findings["repeat_after"].warning("nobody is told again for more than a day", "repeat_after: 15m")
    else:
        _check_quiet(policy.repeat_after, policy, findings["repeat_after"])
    if policy.repeat_interval > _A_DAY:
        findings["repeat_interval"].warning("nobody is told again for more than a day", "repeat_interval: 1h")
    elif policy.repeat_interval < _SHORTEST_REPEAT:
        findings["repeat_interval"].warning(
            "whoever sleeps is called all night, as often as one telephone may ring", "repeat_interval: 1h"
        )
    _check_promise(policy.acknowledgement_timeout, findings["acknowledgement_timeout"])
    look.at_fallback(policy, findings["fallback"])


def _check_quiet(wait: timedelta, policy: EscalationSettings, findings: Findings) -> None:
    """Record a wait during which nobody is notified that is longer than the repeat interval."""
    if wait > policy.repeat_interval:
        interval = format_duration(policy.repeat_interval)
        findings.warning(
            said("is longer than repeat_interval, {interval}: nobody is told meanwhile", interval=interval),
            said("at most {interval}, or a longer repeat_interval", interval=interval),
        )


def _check_promise(stands: timedelta, findings: Findings) -> None:
    """Record an acknowledgement timeout too short to extend, or so long that it blocks escalation."""
    if stands < _SHORTEST_PROMISE:
        findings.error("nobody could be reminded and answer before it expires", "acknowledgement_timeout: 1h")
    elif stands > _A_DAY:
        findings.warning(
            "nobody else hears for more than a day of what one person has taken on", "acknowledgement_timeout: 1h"
        )


@dataclass(frozen=True, slots=True)
class _StepLook:
    """Check of the contacts in escalation steps: whether all of them can be notified."""

    staff: Staff
    provision: SettingsContext

    def at(self, step: StepSettings, findings: Findings) -> None:
        """Record unknown contacts and rotas, and people whom the step's channels cannot reach."""
        _note_twice(step.contacts, findings["contacts"])
        _note_twice(step.rotas, findings["rotas"])
        if not step.contacts and not step.rotas and not findings["rotas"].is_broken:
            instead = "the key of at least one contact, or of a rota under rotas"
            findings["contacts"].error("the step reaches nobody", instead)
        # If a channel is invalid, its reachability is unknown.
        channels = () if findings["channels"].is_broken else step.channels
        for number, key in enumerate(step.contacts):
            self._at_contact(key, channels, findings["contacts", number])
        for number, key in enumerate(step.rotas):
            self._at_rota(key, channels, findings["rotas", number])

    def at_fallback(self, policy: EscalationSettings, findings: Findings) -> None:
        """Record a fallback that is unknown, unreachable, or never notified."""
        if policy.fallback is None or findings.is_broken:
            return
        steps = [step for step in policy.steps if step.rotas]
        if not steps:
            findings.error("is never told: no step names a rota", "rotas: [KEY] in a step, or no fallback")
        for step in steps:
            self._at_contact(policy.fallback, step.channels, findings)

    def _at_rota(self, key: str, channels: Sequence[Channel], findings: Findings) -> None:
        rota = self.staff.rotas.get(key) or (self.provision.rotas or {}).get(key)
        if rota is None:
            if self.provision.rotas is not None and not findings.root["rotas"].is_blank:
                findings.error(
                    said("there is no rota '{key}'", key=key), one_of(key, self._rotas, f"rotas: {{{key}: ...}}")
                )
            return
        for person in dict.fromkeys(person for layer in rota.layers for person in layer.people):
            if person in self._people:  # An unknown contact has been recorded at the rota.
                self._at_contact(person, channels, findings)

    def _at_contact(self, key: str, channels: Sequence[Channel], findings: Findings) -> None:
        contact = self._people.get(key)
        if contact is None:
            if self.provision.contacts is not None and not self.staff.findings.is_blank:
                findings.error(
                    said("there is no contact '{key}'", key=key), one_of(key, self._people, f"contacts: {{{key}: ...}}")
                )
        elif channels and not self._is_unsure(key) and not any(contact.answers_on(channel) for channel in channels):
            ways = either(channels)
            examples = either(_EXAMPLES[channel] for channel in channels if channel is not Channel.LETTER)
            instead = (
                said("{examples} for {key}", examples=examples, key=key)
                if examples
                else "sms or voice in channels: staff get no letters"
            )
            findings.error(
                said("the step does not reach '{key}', who has no address for {ways}", key=key, ways=ways), instead
            )

    def _is_unsure(self, key: str) -> bool:
        # A contact with invalid settings has already been recorded; whether it is reachable is unknown.
        if key in self.staff.contacts:
            return self.staff.findings[key].is_broken
        return key in self.provision.unsure

    @property
    def _people(self) -> Mapping[str, ContactSettings]:
        return {**(self.provision.contacts or {}), **self.staff.contacts}

    @property
    def _rotas(self) -> Mapping[str, RotaSettings]:
        return {**(self.provision.rotas or {}), **self.staff.rotas}


def check_announcement(
    plan: AnnouncementSettings, opening: StepSettings | None, provision: SettingsContext, findings: Findings
) -> None:
    """Record recipients that cannot be notified, or would be before staff, who are in the *opening* step."""
    if plan.release is ReleaseMode.AUTOMATIC and opening is not None and plan.release_offered_after <= opening.after:
        findings["release_offered_after"].error(
            "would tell people outside before staff are told",
            said(
                "more than the {after} after which the first step tells staff, or release: manual",
                after=format_duration(opening.after),
            ),
        )
    seen: dict[tuple[str, str], str] = {}
    for key, recipient in plan.recipients.items():
        there = findings["recipients", key]
        who = (recipient.title.casefold(), recipient.organisation.casefold())
        if who in seen and not there.is_broken:
            first = findings["recipients", seen[who]].where
            there.error(
                said("is the same office as the recipient at {first}", first=first), "one entry with all its channels"
            )
        seen.setdefault(who, key)
        _check_channels(recipient.channels, provision, there["channels"])
        _check_addresses(recipient, there)


def _check_addresses(recipient: RecipientSettings, findings: Findings) -> None:
    # An invalid channel has been replaced by a blank.
    sound = [c for n, c in enumerate(recipient.channels) if not findings["channels", n].is_broken]
    for channel in dict.fromkeys(sound):
        field = "address" if channel is Channel.LETTER else channel.value
        if not recipient.answers_on(channel) and not findings[field].is_broken:
            findings.error(said("has no address for {channel}", channel=channel), _EXAMPLES[channel])
    for channel in (Channel.SMS, Channel.VOICE, Channel.FAX):
        if number := getattr(recipient, channel.value):
            check_number(number, channel, findings[channel.value])
    check_extension(recipient.extension, recipient.voice, findings, "voice")
    check_postal(recipient.address, findings["address"])
    if {Channel.FAX, Channel.LETTER} & set(recipient.channels):
        check_glyphs(recipient, findings)
    if (style := _HONORIFIC.search(recipient.title)) and "salutation" not in recipient.model_fields_set:
        findings["title"].warning(
            said(
                "bears the style '{style}', and pages greet with '{salutation}'",
                style=style[0],
                salutation=recipient.salutation,
            ),
            f'salutation: "{style[0]},"',
        )


def _check_channels(channels: tuple[Channel, ...], provision: SettingsContext, findings: Findings) -> None:
    _note_twice(channels, findings)
    if not channels:
        findings.error("no channel is named", "sms, voice, fax or letter")
    for number, channel in enumerate(channels):
        if provision.channels is not None and channel not in provision.channels:
            findings[number].error(
                said("no gateway is configured for {channel}", channel=channel),
                said("gateways: {{{channel}: [...]}} in the settings file, or another channel", channel=channel),
            )


def check_rotas_used(settings: Settings, agencies: Mapping[str, Agency], files: Mapping[str, Findings]) -> None:
    """Record rotas that no step uses: their on-call staff are never notified.

    *files*: the findings of each agency's file by its short code, those of the settings file by "".
    """
    if settings.mode is ServiceMode.MONITOR_ONLY:
        return
    everywhere = frozenset[str]().union(*(policy.rotas_named for _, policy in _policies(settings, agencies)))
    for key in settings.rotas:
        if key not in everywhere:
            files[""]["rotas", key].warning("is named by no step: nobody is told by it", _or_leave_out(key))
    for code, agency in agencies.items():
        for key in agency.rotas:
            if key not in agency.escalation.rotas_named:
                files[code]["rotas", key].warning("is named by no step: nobody is told by it", _or_leave_out(key))


def rotas_with_fallback(settings: Settings, agencies: Mapping[str, Agency]) -> frozenset[str]:
    """Return the names of the rotas with a fallback in any policy."""
    has_fallback: dict[str, bool] = {}
    for code, policy in _policies(settings, agencies):
        own = agencies[code].rotas if code else {}
        for key in policy.rotas_named:
            name = f"{code}/{key}" if key in own else key
            has_fallback[name] = has_fallback.get(name, True) and policy.fallback is not None
    return frozenset(name for name, has in has_fallback.items() if has)


def _policies(settings: Settings, agencies: Mapping[str, Agency]) -> Iterator[tuple[str, EscalationSettings]]:
    """Yield all policies, each with the code of its agency; "": the settings file."""
    receive = settings.alertmanager and settings.alertmanager.receive
    yield "", settings.noc.escalation
    yield from (("", tell.escalation) for tell in (receive.routes.values() if receive else ()))
    yield from ((code, agency.escalation) for code, agency in agencies.items())


def _or_leave_out(rota: str) -> str:
    return said("rotas: [{rota}] in a step, or leave it out", rota=rota)


def _note_twice(items: Iterable[str], findings: Findings) -> None:
    written = list(items)
    for item, times in Counter(written).items():
        if times > 1:
            last = len(written) - 1 - written[::-1].index(item)
            findings[last].error(said("'{item}' is named twice", item=item), "it once")
