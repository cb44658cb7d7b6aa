"""What the settings file provides to agency files, as far as it could be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from alerts.model.channel import Channel
from monitor.config.agency.contact import ContactSettings
from monitor.config.agency.mailbox import MailboxSettings
from monitor.config.agency.probing import ProbingSettings
from monitor.config.agency.rota import RotaSettings
from monitor.config.fields.circular import OFFICIAL_SUFFIXES, PRIVATE_PROVIDERS
from monitor.config.fields.window import MALAYSIA


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """`None` stands for "cannot be known": nothing is said about what depends on it."""

    #: Channels with a gateway.
    channels: frozenset[Channel] | None = None
    #: The reference mailboxes by their names.
    references: Mapping[str, MailboxSettings] | None = None
    #: Staff whom every agency may name.
    contacts: Mapping[str, ContactSettings] | None = None
    #: Those of them whose own lines are wrong: whether they can be reached is not known.
    unsure: frozenset[str] = frozenset()
    #: Rotas that every agency may name.
    rotas: Mapping[str, RotaSettings] | None = None
    suffixes: tuple[str, ...] = OFFICIAL_SUFFIXES
    providers: tuple[str, ...] = PRIVATE_PROVIDERS
    probing: ProbingSettings | None = None
    time_zone: ZoneInfo = MALAYSIA
