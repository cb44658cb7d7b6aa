"""Section `gateways`: an ordered list of gateways per channel.

A gateway sends notifications on a channel, mostly through a provider. A *kind* of gateway is a module in
`alerts.gateways` with its own pydantic model, which validates the gateway's entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import BaseModel, Field

import alerts.gateways
from alerts.model.channel import Channel
from alerts.model.gateway import GatewayKind
from monitor.config.files.findings import Findings
from monitor.config.files.problem import closest_match
from monitor.config.files.reading import SANCTIONED_CHANNELS, Reader
from monitor.config.files.section import Section, Slug
from monitor.runtime.plugins import discover

_SECTION = "gateways"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Configuration of one gateway."""

    #: Unique in the service; also a metric label, and a part of the URLs of its callbacks.
    name: str
    #: Name of the module in `alerts.gateways`.
    kind: str
    channel: Channel
    #: Instance of the module's `GATEWAY.config`.
    config: BaseModel = field(repr=False)
    #: Maximum number of messages per minute; `None`: no limit.
    per_minute: int | None = None


class _CommonKeys(Section):
    """Keys that all gateways have in addition to the keys of their kind."""

    name: Slug
    per_minute: Annotated[int, Field(ge=1)] | None = None
    """Messages per minute that the provider's contract allows. This limit does not delay the first notification of an
    incident.
    """


def gateway_kinds() -> dict[str, GatewayKind]:
    """Return all shipped kinds of gateways by name. `discover` raises `TypeError` if one of them is invalid."""
    return discover(alerts.gateways, "GATEWAY", GatewayKind)


class GatewayReader:
    """Reader of the section `gateways`, which has a different model for each kind of gateway."""

    def __init__(self, reader: Reader, kinds: Mapping[str, GatewayKind]) -> None:
        self._reader = reader
        self._findings = reader.findings[_SECTION]
        self._kinds = kinds
        #: Findings of the first gateway with each name.
        self._names: dict[str, Findings] = {}

    def read(self) -> dict[Channel, tuple[GatewaySettings, ...]]:
        """Return the readable gateways per channel, in the order of the file, and record all problems."""
        section_data = self._findings.document.data.get(_SECTION, {})
        if not isinstance(section_data, Mapping):
            self._findings.broken("must be channels with their gateways", "sms: [{gateway: ...}]")
            return {}
        gateways: dict[Channel, tuple[GatewaySettings, ...]] = {}
        for channel, entries in section_data.items():
            channel_findings = self._findings[channel]
            if channel not in set(Channel):
                channel_findings.broken(f"'{channel}' is no sanctioned channel", SANCTIONED_CHANNELS)
            elif not isinstance(entries, list) or not entries:
                channel_findings.broken("must be a list of gateways", f"{channel}: [{{gateway: ...}}]")
            else:
                read_gateways = [
                    self._read_entry(entry, Channel(channel), channel_findings[n]) for n, entry in enumerate(entries)
                ]
                gateways[Channel(channel)] = tuple(each for each in read_gateways if each is not None)
        return gateways

    def _read_entry(self, entry: object, channel: Channel, findings: Findings) -> GatewaySettings | None:
        if not isinstance(entry, Mapping):
            findings.broken("must be a gateway and its keys", "gateway: NAME")
            return None
        kind = self._read_kind(entry, channel, findings["gateway"])
        if kind is None:
            return None
        common_keys = _CommonKeys.model_fields
        # By default, a gateway has the name of its kind: "twilio-sms".
        default_name = {"name": kind.name.replace("_", "-")}
        common_data = default_name | {key: value for key, value in entry.items() if key in common_keys}
        kind_data = {key: value for key, value in entry.items() if key not in {"gateway", *common_keys}}
        common_settings = self._reader.read(_CommonKeys, common_data, findings.path)
        config = self._reader.read(kind.config, kind_data, findings.path)
        if common_settings is None or config is None:
            return None
        self._check_unique_name(common_settings.name, findings["name"])
        return GatewaySettings(
            name=common_settings.name,
            kind=kind.name,
            channel=channel,
            config=config,
            per_minute=common_settings.per_minute,
        )

    def _read_kind(self, entry: Mapping[str, object], channel: Channel, findings: Findings) -> GatewayKind | None:
        """Return the kind that *entry* names, or `None`. Record an unknown kind, or one of another channel."""
        remedy = "one of " + ", ".join(sorted(name for name, kind in self._kinds.items() if kind.channel is channel))
        name = entry.get("gateway")
        if not isinstance(name, str):
            findings.broken("is missing", remedy)
            return None
        if (kind := self._kinds.get(name)) is None:
            findings.broken(f"'{name}' is no known gateway", closest_match(name, self._kinds) or remedy)
        elif kind.channel is not channel:
            findings.broken(f"'{name}' sends {kind.channel} and not {channel}", remedy)
        return kind

    def _check_unique_name(self, name: str, findings: Findings) -> None:
        first = self._names.setdefault(name, findings)
        if first is not findings:
            findings.error(f"the gateway at {first.location_text} is called '{name}' too", "name: another name")


def configured_channels(findings: Findings) -> frozenset[Channel] | None:
    """Return the channels that have a gateway in the file, valid or not; `None` if the file cannot be read."""
    section_data = findings.document.data.get(_SECTION, {})
    if not findings.document.readable or not isinstance(section_data, Mapping):
        return None
    return frozenset(channel for channel in Channel if channel.value in section_data)
