"""Section `checks` of the settings file and its overrides in an agency's file: which checks run, and how often.

A kind is set to `on`, `off` or `{interval: 6h}` (which means on). The default is the module's: on, unless the check
acts like an intruder or connects to servers of third parties. Such a check must be enabled.
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
from monitor.config.files.section import InvalidValue, Section, Span, wrong
from monitor.model.lazy_text import said
from probes.model.check import CheckKind, NameServers

_SECTION = "checks"
_NAME_SERVERS = "name_servers"
_SWITCH = {"on": True, "true": True, "yes": True, "off": False, "false": False, "no": False}
_WAYS = "on, off or {interval: 1h}"
_DNS_PORT = 53


def _switch(written: object) -> bool | None:
    return _SWITCH.get(written.lower()) if isinstance(written, str) else None


def _asks(written: object) -> bool:
    if (asks := _switch(written)) is None:
        raise wrong("must be on or off", "off: no MX host is asked if it takes our mail")
    return asks


def _end(written: object) -> object:
    """Return address and port of "192.0.2.53", "192.0.2.53:5353", "2001:db8::53" or "[2001:db8::53]:5353"."""
    text = written.strip() if isinstance(written, str) else ""
    end = parse_listen(text)
    host, port = (end.host, end.port) if end is not None else (text, _DNS_PORT)
    try:
        # A host name would need a DNS query, for which no resolver is configured yet.
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or not port:
        raise wrong("is no address of a name server", "192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353")
    return str(address), port


def _on_one_port(ends: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    if not ends:
        raise wrong("names nobody", "[192.0.2.53], or nothing: those of this machine")
    if len({port for _, port in ends}) > 1:
        raise wrong("the name servers are on different ports", "the same port for all of them")
    return ends


NameServer = Annotated[tuple[str, int], BeforeValidator(_end), InvalidValue(("127.0.0.1", _DNS_PORT))]


class CheckSettings(Section):
    """Configuration of one kind of check."""

    on: ClassVar[bool] = True
    interval: Span | None
    """`None`: as it is elsewhere."""

    @model_validator(mode="wrap")
    @classmethod
    def _in_a_word(cls, written: object, read: ModelWrapValidatorHandler[CheckSettings]) -> CheckSettings:
        if isinstance(written, Mapping | CheckSettings):
            return read(written)
        if (on := _switch(written)) is None:
            raise wrong(said("must be {ways}", ways=_WAYS), "on")
        return ON if on else OFF


class _Off(CheckSettings):
    on: ClassVar[bool] = False


ON, OFF = CheckSettings(interval=None), _Off(interval=None)


class ChecksSettings(Section):
    """Keys that the settings file and an agency's file share. `checks_model` adds the kinds, which are keys as well."""

    ask_recipients: Annotated[bool | None, BeforeValidator(_asks)] = None
    """Whether MX hosts are tested with RCPT for the agency's addresses; `None`: as in the settings, by default
    yes.
    """

    @property
    def kinds(self) -> Mapping[str, CheckSettings]:
        """Settings by kind; kinds that are not configured are missing."""
        return {
            name: each for name in type(self).model_fields if isinstance(each := getattr(self, name), CheckSettings)
        }


class ServiceChecksSettings(ChecksSettings):
    """Section `checks` of the settings file."""

    name_servers: Annotated[tuple[NameServer, ...], AfterValidator(_on_one_port), InvalidValue(())] = Field(
        default=(), examples=["[192.0.2.53], or nothing: those of this machine"]
    )
    """Name servers for checks; default: the system's."""

    def resolvers(self) -> NameServers:
        """Return the name servers that checks query."""
        if not self.name_servers:
            return NameServers()
        return NameServers(addresses=tuple(host for host, _ in self.name_servers), port=self.name_servers[0][1])


C = TypeVar("C", bound=ChecksSettings)


@cache
def _with_kinds(section: type[C], kinds: tuple[str, ...]) -> type[C]:
    """Return *section* with a key for each of the shipped *kinds*."""
    keys: dict[str, Any] = {kind: (CheckSettings, Field(default=None, examples=["on"])) for kind in kinds}
    return create_model(section.__name__, __base__=section, **keys)


def read_checks(reader: Reader, section: type[C], kinds: Mapping[str, CheckKind]) -> C:
    """Return the section of a document, without invalid values."""
    findings, written = reader.findings[_SECTION], reader.findings.document.data.get(_SECTION, {})
    if not isinstance(written, Mapping):
        findings.broken("must be kinds of checks", f"domain: {_WAYS}")
    elif section is ChecksSettings and _NAME_SERVERS in written:
        where = "name_servers below checks in the settings file"
        findings[_NAME_SERVERS].broken("is set for the whole service", where)
    checks = reader.read(_with_kinds(section, tuple(kinds)), written, findings.path) or section()
    for name, each in checks.kinds.items():
        if each.interval is not None and each.interval < kinds[name].within:
            longest = format_duration(kinds[name].within)
            findings[name, "interval"].error(
                said("one run may take {longest}", longest=longest), said("at least {longest}", longest=longest)
            )
    return checks


def intervals(
    kinds: Mapping[str, CheckKind], service: Mapping[str, CheckSettings], agency: Mapping[str, CheckSettings]
) -> dict[str, timedelta]:
    """Return the interval of each kind for an agency, without disabled kinds. The agency's settings take precedence."""
    found = {}
    for name, kind in kinds.items():
        said = [settings[name] for settings in (agency, service) if name in settings]
        if said[0].on if said else not kind.opt_in:
            spans = [each.interval for each in said if each.interval is not None]
            found[name] = spans[0] if spans else kind.interval
    return found
