"""Which checks run, and how often: the section `checks` of the settings file, and what an agency does differently.

A kind is written as `on`, `off` or `{interval: 6h}` (which is on). One that is not written is as its module says: on,
unless it does what an intruder would do or knocks at doors that are not ours. Then it has to be asked for.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from monitor.config.fields.listen import parse_listen
from monitor.config.files.duration import format_duration
from monitor.config.files.problem import Path, nearest
from monitor.config.files.reading import Reader
from monitor.config.files.section import Section, Span
from probes.model.check import CheckKind, NameServers

_SECTION = "checks"
_NAME_SERVERS = "name_servers"
_ASK_RECIPIENTS = "ask_recipients"
_WAYS = "on, off or {interval: 1h}"
_ON = frozenset({"on", "true", "yes"})
_OFF = frozenset({"off", "false", "no"})
_DNS_PORT = 53


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """What was written of one kind of check."""

    on: bool
    #: `None`: as it is elsewhere.
    interval: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksSettings:
    """The section of the settings file, or of an agency's."""

    #: By kind; those that were not written are missing.
    kinds: Mapping[str, CheckSettings] = field(default_factory=dict)
    #: Of the settings file only.
    name_servers: NameServers = field(default_factory=NameServers)
    #: Whether an MX host may be asked (RCPT) if it would take mail; `None`: as it is elsewhere, and yes if nowhere.
    ask_recipients: bool | None = None


def intervals(
    kinds: Mapping[str, CheckKind], service: Mapping[str, CheckSettings], agency: Mapping[str, CheckSettings]
) -> dict[str, timedelta]:
    """Return how often each kind runs for an agency; kinds that are off are left out. What the agency says goes."""
    found = {}
    for name, kind in kinds.items():
        said = [settings[name] for settings in (agency, service) if name in settings]
        if said[0].on if said else not kind.asked_for:
            spans = [each.interval for each in said if each.interval is not None]
            found[name] = spans[0] if spans else kind.interval
    return found


class _Paced(Section):
    interval: Span


class ChecksReader:
    """Reads the section, whose keys are the kinds that ship: no model describes it."""

    def __init__(self, reader: Reader, kinds: Mapping[str, CheckKind]) -> None:
        self._reader = reader
        self._findings = reader.findings
        self._kinds = kinds

    def read_service(self) -> ChecksSettings:
        """Return the section of the settings file; what is broken is left out."""
        written = self._section()
        servers = self._name_servers(written[_NAME_SERVERS]) if _NAME_SERVERS in written else NameServers()
        known = (*self._kinds, _ASK_RECIPIENTS, _NAME_SERVERS)
        return ChecksSettings(
            kinds=self._read_kinds(written, known), name_servers=servers, ask_recipients=self._ask_recipients(written)
        )

    def read_agency(self) -> ChecksSettings:
        """Return what an agency does differently; what is broken is left out."""
        written = self._section()
        if _NAME_SERVERS in written:
            where = "name_servers below checks in the settings file"
            self._findings.broken((_SECTION, _NAME_SERVERS), "is set for the whole service", where)
        kinds = self._read_kinds(written, (*self._kinds, _ASK_RECIPIENTS))
        return ChecksSettings(kinds=kinds, ask_recipients=self._ask_recipients(written))

    def _ask_recipients(self, written: Mapping[str, object]) -> bool | None:
        if _ASK_RECIPIENTS not in written:
            return None
        path, value = (_SECTION, _ASK_RECIPIENTS), written[_ASK_RECIPIENTS]
        if (word := _word(value)) not in _ON | _OFF:
            self._findings.broken(path, "must be on or off", "off: no MX host is asked if it takes our mail")
            return None
        return word in _ON

    def _section(self) -> Mapping[str, object]:
        written = self._findings.document.data.get(_SECTION, {})
        if isinstance(written, Mapping):
            return written
        self._findings.broken((_SECTION,), "must be kinds of checks", f"posture: {_WAYS}")
        return {}

    def _read_kinds(self, written: Mapping[str, object], known: tuple[str, ...]) -> dict[str, CheckSettings]:
        read = {}
        for name, value in written.items():
            path = (_SECTION, name)
            if name in {_NAME_SERVERS, _ASK_RECIPIENTS}:
                continue
            if name not in self._kinds:
                self._findings.broken(path, "is no known check", nearest(name, known) or "one of " + ", ".join(known))
            elif (settings := self._kind(self._kinds[name], value, path)) is not None:
                read[name] = settings
        return read

    def _kind(self, kind: CheckKind, value: object, path: Path) -> CheckSettings | None:
        if isinstance(value, Mapping):
            paced = self._reader.read(_Paced, value, path)
            place = (*path, "interval")
            if paced is None or self._findings.is_broken(path):
                return None
            if paced.interval < kind.within:
                longest = format_duration(kind.within)
                self._findings.error(place, f"one run may take {longest}", f"at least {longest}")
            return CheckSettings(on=True, interval=paced.interval)
        if (word := _word(value)) not in _ON | _OFF:
            self._findings.broken(path, f"must be {_WAYS}", f"{path[-1]}: on")
            return None
        return CheckSettings(on=word in _ON)

    def _name_servers(self, value: object) -> NameServers:
        path = (_SECTION, _NAME_SERVERS)
        if not isinstance(value, list) or not value:
            self._findings.broken(
                path, "must be a list of addresses", "[192.0.2.53], or nothing: those of this machine"
            )
            return NameServers()
        ends = []
        for number, written in enumerate(value):
            if (end := _end(written)) is None:
                message = "is no address of a name server"
                self._findings.broken((*path, number), message, "192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353")
            else:
                ends.append(end)
        if len({port for _, port in ends}) > 1:
            self._findings.error(path, "the name servers are on different ports", "the same port for all of them")
        if not ends:
            return NameServers()
        return NameServers(addresses=tuple(address for address, _ in ends), port=ends[0][1])


def _word(written: object) -> str:
    return written.lower() if isinstance(written, str) else ""


def _end(written: object) -> tuple[str, int] | None:
    """Return the address and the port of "192.0.2.53", "192.0.2.53:5353", "2001:db8::53" or "[2001:db8::53]:5353"."""
    if not isinstance(written, str):
        return None
    end = parse_listen(written)
    host, port = (end.host, end.port) if end is not None else (written.strip(), _DNS_PORT)
    try:
        # A name would have to be asked for, and whom should we ask?
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (str(address), port) if port else None
