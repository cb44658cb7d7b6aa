"""Whether every notice would have somewhere to go: steps that reach nobody, recipients without an address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from alerts.channel import Channel
from monitor.config.announcement import AnnouncementSettings, RecipientSettings
from monitor.config.contact import ContactSettings, check_extension, check_number
from monitor.config.escalation import EscalationSettings, StepSettings
from monitor.config.findings import Findings
from monitor.config.form import nearest
from monitor.config.office import check_postal
from monitor.config.problem import Path
from monitor.config.provision import Provision

_EXAMPLES = {
    Channel.SMS: "sms: 010-000 0000",
    Channel.VOICE: "voice: 03-1234 5678",
    Channel.FAX: "fax: 03-1234 5678",
    Channel.LETTER: "address: [Aras 1, Blok Contoh, 62000 PUTRAJAYA]",
}


@dataclass(frozen=True, slots=True)
class Staff:
    """The contacts that stand beside a policy in the same file, and where."""

    contacts: Mapping[str, ContactSettings]
    path: Path


def check_escalation(
    policy: EscalationSettings, staff: Staff, provision: Provision, findings: Findings, path: Path
) -> None:
    """Note steps that would tell nobody."""
    if not policy.steps:
        findings.error((*path, "steps"), "nobody is told", "at least one step with contacts and channels")
    for number, step in enumerate(policy.steps):
        place = (*path, "steps", number)
        if number and not step.after:
            findings.warning(
                (*place, "after"),
                "comes together with the step before",
                "after: 5m, or its contacts in the step before",
            )
        _check_channels(step.channels, provision, findings, (*place, "channels"))
        _check_contacts(step, staff, provision, findings, place)


def _check_contacts(step: StepSettings, staff: Staff, provision: Provision, findings: Findings, path: Path) -> None:
    _note_twice(step.contacts, findings, (*path, "contacts"))
    if not step.contacts:
        findings.error((*path, "contacts"), "the step reaches nobody", "the key of at least one contact")
    for number, key in enumerate(step.contacts):
        place = (*path, "contacts", number)
        contact = staff.contacts.get(key) or (provision.contacts or {}).get(key)
        if contact is None:
            if provision.contacts is not None and not findings.is_blank(staff.path):
                known = [*staff.contacts, *provision.contacts]
                instead = nearest(key, known) or "one of " + ", ".join(known) if known else f"contacts: {{{key}: ...}}"
                findings.error(place, f"there is no contact '{key}'", instead)
        elif _is_unsure(key, staff, provision, findings) or findings.is_broken((*path, "channels")):
            continue
        elif step.channels and not any(contact.answers_on(channel) for channel in step.channels):
            ways = " or ".join(step.channels)
            examples = " or ".join(_EXAMPLES[channel] for channel in step.channels if channel is not Channel.LETTER)
            instead = f"{examples} for {key}" if examples else "sms or voice in channels: staff get no letters"
            findings.error(place, f"the step does not reach '{key}', who has no address for {ways}", instead)


def _is_unsure(key: str, staff: Staff, provision: Provision, findings: Findings) -> bool:
    # A contact whose own lines are wrong has been told so; whether it can be reached is not known.
    return findings.is_broken((*staff.path, key)) if key in staff.contacts else key in provision.unsure


def check_announcement(plan: AnnouncementSettings, provision: Provision, findings: Findings, path: Path) -> None:
    """Note recipients who cannot be told."""
    seen: dict[tuple[str, str], str] = {}
    for key, recipient in plan.recipients.items():
        place = (*path, "recipients", key)
        who = (recipient.title.casefold(), recipient.organisation.casefold())
        if who in seen and not findings.is_broken(place):
            first = findings.where((*path, "recipients", seen[who]))
            findings.error(place, f"is the same office as the recipient at {first}", "one entry with all its channels")
        seen.setdefault(who, key)
        _check_channels(recipient.channels, provision, findings, (*place, "channels"))
        _check_addresses(recipient, findings, place)


def _check_addresses(recipient: RecipientSettings, findings: Findings, path: Path) -> None:
    # A channel that was none has a blank in its place.
    sound = [c for n, c in enumerate(recipient.channels) if not findings.is_broken((*path, "channels", n))]
    for channel in dict.fromkeys(sound):
        field = "address" if channel is Channel.LETTER else channel.value
        if not recipient.answers_on(channel) and not findings.is_broken((*path, field)):
            findings.error(path, f"has no address for {channel}", _EXAMPLES[channel])
    for channel in (Channel.SMS, Channel.VOICE, Channel.FAX):
        if number := getattr(recipient, channel.value):
            check_number(number, channel, findings, (*path, channel.value))
    check_extension(recipient.extension, recipient.voice, findings, path)
    check_postal(recipient.address, findings, (*path, "address"))


def _check_channels(channels: tuple[Channel, ...], provision: Provision, findings: Findings, path: Path) -> None:
    _note_twice(channels, findings, path)
    if not channels:
        findings.error(path, "no channel is named", "sms, voice, fax or letter")
    for number, channel in enumerate(channels):
        if provision.channels is not None and channel not in provision.channels:
            findings.error(
                (*path, number),
                f"no gateway is configured for {channel}",
                f"gateways: {{{channel}: [...]}} in the settings file, or another channel",
            )


def _note_twice(items: Iterable[str], findings: Findings, path: Path) -> None:
    written = list(items)
    for item, times in Counter(written).items():
        if times > 1:
            last = len(written) - 1 - written[::-1].index(item)
            findings.error((*path, last), f"'{item}' is named twice", "it once")
