"""Section `checks` of the settings file, and its overrides in an agency's file: which checks run, and how often.

A *check* tests servers and domains without sending a message through a mailbox. Each *kind* of check is set to `on`,
`off` or `{interval: 6h}` (which means on). By default, a kind is on, unless it is opt-in: such a kind acts like an
intruder or connects to servers of third parties.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ModelWrapValidatorHandler, create_model, model_validator

from monitor.config.fields.listen import parse_listen
from monitor.config.files.duration import format_duration
from monitor.config.files.reading import Reader
from monitor.config.files.section import PositiveDuration, Section, SubstituteIfInvalid, shape_error
from monitor.model.translatable import translatable
from probes.model.check import CheckKind, NameServers

_SECTION = "checks"
_NAME_SERVERS = "name_servers"
#: Accepted texts for on and off.
_SWITCH_VALUES = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
#: Possible values of a kind, as messages show them.
_KIND_VALUES = "on, off or {interval: 1h}"
_DNS_PORT = 53


def _parse_switch(value: object) -> bool | None:
    """Return whether *value* means on; `None` if it means neither on nor off."""
    return _SWITCH_VALUES.get(value.lower()) if isinstance(value, str) else None


def _parse_ask_recipients(value: object) -> bool:
    if (is_on := _parse_switch(value)) is None:
        raise shape_error("must be on or off", "off: MX hosts are not asked whether they accept mail")
    return is_on


def _parse_name_server(value: object) -> object:
    """Return IP address and port from "192.0.2.53", "192.0.2.53:5353", "2001:db8::53" or "[2001:db8::53]:5353"."""
    text = value.strip() if isinstance(value, str) else ""
    listen = parse_listen(text)
    host, port = (listen.host, listen.port) if listen is not None else (text, _DNS_PORT)
    try:
        # Reject host names: to resolve one, a name server would already be needed.
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or not port:
        raise shape_error("is no address of a name server", "192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353")
    return str(address), port


def _check_same_port(name_servers: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    if not name_servers:
        raise shape_error("names no server", "[192.0.2.53], or leave it out: those of this machine")
    if len({port for _, port in name_servers}) > 1:
        raise shape_error("the name servers are on different ports", "the same port for all of them")
    return name_servers


#: IP address and port of a name server.
NameServer = Annotated[
    tuple[str, int], BeforeValidator(_parse_name_server), SubstituteIfInvalid(("127.0.0.1", _DNS_PORT))
]


class CheckSettings(Section):
    """Settings of one kind of check in one file. The kind is on; the subclass `_Off` is for a kind that is off."""

    is_on: ClassVar[bool] = True
    interval: PositiveDuration | None
    """Interval between two runs; `None`: that of the settings file, or the default of the kind."""

    @model_validator(mode="wrap")
    @classmethod
    def _read_switch(cls, value: object, read: ModelWrapValidatorHandler[CheckSettings]) -> CheckSettings:
        """Return the settings for "on" or "off". Any other value must be a mapping, which pydantic reads."""
        if isinstance(value, Mapping | CheckSettings):
            return read(value)
        if (on := _parse_switch(value)) is None:
            raise shape_error(translatable("must be {ways}", ways=_KIND_VALUES), "on")
        return ON if on else OFF


class _Off(CheckSettings):
    is_on: ClassVar[bool] = False


#: Settings of a kind that is set to `on` or `off`.
ON, OFF = CheckSettings(interval=None), _Off(interval=None)


class ChecksSettings(Section):
    """Section `checks` of an agency's file, with keys of both files. `_with_kinds` adds a key for each kind."""

    ask_recipients: Annotated[bool | None, BeforeValidator(_parse_ask_recipients)] = None
    """Whether MX hosts are asked by RCPT whether they accept mail for the agency's addresses; default: as in the
    settings file, whose default is on.
    """

    @property
    def kinds(self) -> Mapping[str, CheckSettings]:
        """Settings of the configured kinds, by kind."""
        return {
            name: each for name in type(self).model_fields if isinstance(each := getattr(self, name), CheckSettings)
        }


class ServiceChecksSettings(ChecksSettings):
    """Section `checks` of the settings file."""

    name_servers: Annotated[tuple[NameServer, ...], AfterValidator(_check_same_port), SubstituteIfInvalid(())] = Field(
        default=(), examples=["[192.0.2.53], or leave it out: those of this machine"]
    )
    """Name servers for checks; default: the system's."""

    def build_name_servers(self) -> NameServers:
        """Return the name servers that checks query."""
        if not self.name_servers:
            return NameServers()
        return NameServers(addresses=tuple(host for host, _ in self.name_servers), port=self.name_servers[0][1])


C = TypeVar("C", bound=ChecksSettings)


@cache
def _with_kinds(section: type[C], kinds: tuple[str, ...]) -> type[C]:
    """Return the model *section* with an additional key for each of *kinds*."""
    keys: dict[str, Any] = {kind: (CheckSettings, Field(default=None, examples=["on"])) for kind in kinds}
    return create_model(section.__name__, __base__=section, **keys)


def read_checks(reader: Reader, section: type[C], kinds: Mapping[str, CheckKind]) -> C:
    """Return the section `checks` as the model *section*. Record and omit invalid values. *kinds*: all, by name."""
    findings, section_data = reader.findings[_SECTION], reader.findings.document.data.get(_SECTION, {})
    if not isinstance(section_data, Mapping):
        findings.broken("must be kinds of checks", f"domain: {_KIND_VALUES}")
    elif section is ChecksSettings and _NAME_SERVERS in section_data:  # An agency's file.
        remedy = "name_servers below checks in the settings file"
        findings[_NAME_SERVERS].broken("is set for the whole service", remedy)
    checks = reader.read(_with_kinds(section, tuple(kinds)), section_data, findings.path) or section()
    for name, each in checks.kinds.items():
        if each.interval is not None and each.interval < kinds[name].within:  # The deadline of a run.
            shortest_interval = format_duration(kinds[name].within)
            findings[name, "interval"].error(
                translatable("one run may take {longest}", longest=shortest_interval),
                translatable("at least {longest}", longest=shortest_interval),
            )
    return checks


def enabled_check_intervals(
    kinds: Mapping[str, CheckKind], service: Mapping[str, CheckSettings], agency: Mapping[str, CheckSettings]
) -> dict[str, timedelta]:
    """Return the interval of each enabled kind of check for an agency.

    *service*, *agency*: the kinds configured in the settings file and in the agency's file; the latter take precedence.
    """
    intervals = {}
    for name, kind in kinds.items():
        kind_settings = [settings[name] for settings in (agency, service) if name in settings]
        is_on = kind_settings[0].is_on if kind_settings else not kind.opt_in
        if is_on:
            configured_intervals = [each.interval for each in kind_settings if each.interval is not None]
            intervals[name] = configured_intervals[0] if configured_intervals else kind.interval
    return intervals
