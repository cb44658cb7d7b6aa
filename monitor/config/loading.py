"""Load the whole configuration: the settings file and every agency file it leads to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from alerts.channel import Channel
from alerts.gateway import GatewayKind
from alerts.wording.lifeline import faults as lifeline_faults
from alerts.wording.texts import Wording
from monitor.config.agency_file import check_agency, read_agency
from monitor.config.calendar import check_gazette, read_gazette
from monitor.config.document import read_document
from monitor.config.drill import check_drilled, check_room
from monitor.config.duplicate import Uniques
from monitor.config.findings import Findings
from monitor.config.gateway import gateway_kinds
from monitor.config.memory import Memory
from monitor.config.outlook import check_outlook
from monitor.config.problem import Problem, Severity
from monitor.config.provider import build_providers
from monitor.config.provision import Provision
from monitor.config.route import RouteDirection
from monitor.config.secret import Vault
from monitor.config.settings_file import (
    check_settings,
    listen_problem,
    provision_of,
    read_settings,
    with_environment,
)
from monitor.config.storage import check_storage
from monitor.config.texts import check_texts, read_texts
from monitor.config.timetable import check_timetable
from monitor.config.trust import Trust
from monitor.probing.kinds import check_kinds
from monitor.registry import Agency, Registry, build_registry
from monitor.settings import Settings
from probes.check import CheckKind

#: Where agency files are looked for when the settings file cannot be understood: their problems are shown all the same.
_USUAL_DIRECTORY = "agencies"


class BadConfiguration(Exception):
    """The configuration cannot be used. Holds every problem, warnings too."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A configuration that can be used."""

    settings: Settings
    registry: Registry
    wording: Wording
    #: Of the settings file and the agency files, as `sha256sum pantau.yaml agencies/*.yaml | cut -c1-64 | sha256sum`
    #: says it (with `calendar.file` at the end, if there is one): the journal tells by it which configuration was in
    #: force.
    digest: str = ""
    files: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What came of reading a configuration. The parts are there together, when there is no error."""

    settings: Settings | None
    registry: Registry | None
    #: Of the settings file first, then file by file, by line.
    problems: tuple[Problem, ...]
    #: How many files were read.
    files: int
    wording: Wording | None = None
    #: See `Configuration.digest`.
    digest: str = ""

    @property
    def errors(self) -> tuple[Problem, ...]:
        """What keeps the configuration from being used."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What somebody should look at."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.WARNING)

    def accepted(self) -> Configuration:
        """Return the configuration. Raise `BadConfiguration` when it cannot be used."""
        if self.settings is None or self.registry is None or self.wording is None:
            raise BadConfiguration(self.problems)
        return Configuration(
            settings=self.settings,
            registry=self.registry,
            wording=self.wording,
            digest=self.digest,
            files=self.files,
        )


def load(
    path: Path,
    environ: Mapping[str, str],
    *,
    kinds: Mapping[str, GatewayKind] | None = None,
    checks: Mapping[str, CheckKind] | None = None,
    now: datetime | None = None,
    memory: Memory | None = None,
) -> Loaded:
    """Read the settings file at *path* and the agencies it names; never raises for what files hold.

    *kinds* are the gateways that may be configured, *checks* the checks; default: those that ship. With *now* it is also
    noted what is going to be wrong; that makes no configuration unusable. Raise `TypeError` when one of the kinds is
    not what it should be. *memory*: of earlier readings, for one who reads again and again.
    """
    memory = memory or Memory()
    vault, trust, uniques = Vault(directory=path.parent, environ=environ), memory.trust, Uniques()
    trust.look_again()
    findings = Findings(read_document(path))
    checks = check_kinds() if checks is None else checks
    settings = read_settings(findings, vault, gateway_kinds() if kinds is None else kinds, checks)
    provision = provision_of(settings, findings)
    if settings is not None:
        check_settings(settings, provision, findings, uniques, trust)
    settings, days = _with_gazette(settings, vault, findings)

    files = _agency_files(path, settings, findings)
    wording = read_texts(settings, findings)
    agencies, others = _read_agencies(files, vault, provision, uniques, trust, checks=checks)
    if wording is not None:
        _check_texts(settings, agencies, wording, (findings, *others))
    _check_references(agencies, provision, findings)

    loaded = _loaded((findings, *others, *days), environ)
    if loaded.errors or settings is None or wording is None:
        return loaded
    registry = build_registry({agency.agency: agency for agency in agencies}, settings, trust, memory.in_force)
    found = {agency.agency: each for agency, each in zip(agencies, others, strict=True)}
    check_timetable(registry.routes, build_providers(settings.providers), {"": findings, **found})
    _check_vigil(settings, agencies, wording, findings)
    loaded = _loaded((findings, *others, *days), environ)
    if loaded.errors:
        return loaded
    if now is not None:
        check_outlook(settings, registry.agencies, {"": findings, **found}, now)
        check_storage(settings, registry.routes, findings)
        loaded = _loaded((findings, *others, *days), environ)
    return replace(loaded, settings=with_environment(settings, environ), wording=wording, registry=registry)


def _with_gazette(
    settings: Settings | None, vault: Vault, findings: Findings
) -> tuple[Settings | None, tuple[Findings, ...]]:
    """Return the settings with the days of the gazette's file, and what was found in that file."""
    if settings is None or settings.calendar.file is None or findings.is_broken(("calendar",)):
        return settings, ()
    found = Findings(read_document(settings.calendar.file))
    gazette = read_gazette(found, vault)
    if gazette is not None:
        check_gazette(gazette, found)
    calendar = settings.calendar.with_gazette(gazette)
    return settings.model_copy(update={"calendar": calendar}), (found,)


def _loaded(findings: tuple[Findings, ...], environ: Mapping[str, str]) -> Loaded:
    environment = listen_problem(environ)
    problems = [] if environment is None else [environment]
    for each in findings:
        problems += each.problems
    digests = "".join(f"{each.document.digest}\n" for each in findings)
    return Loaded(
        settings=None,
        registry=None,
        problems=tuple(problems),
        files=len(findings),
        digest=hashlib.sha256(digests.encode()).hexdigest(),
    )


def _agency_files(path: Path, settings: Settings | None, findings: Findings) -> list[Path]:
    known = settings is not None and not findings.is_broken(("agencies",))
    directory = settings.agencies if settings is not None and known else path.parent / _USUAL_DIRECTORY
    try:
        files = sorted(
            file for file in directory.iterdir() if file.suffix in (".yaml", ".yml") and not file.name.startswith(".")
        )
    except (OSError, ValueError):
        if known:
            findings.error(
                ("agencies",), f"{directory} is no directory that can be read", "the directory of agency files"
            )
        return []
    if not files and known:
        # A service that watches nothing would look healthy for ever.
        findings.error(
            ("agencies",), f"{directory} holds no agency file (*.yaml)", "a directory with one file an agency"
        )
    return files


def _read_agencies(
    files: list[Path],
    vault: Vault,
    provision: Provision,
    uniques: Uniques,
    trust: Trust,
    *,
    checks: Mapping[str, CheckKind],
) -> tuple[list[Agency], list[Findings]]:
    agencies, findings = [], []
    for file in files:
        found = Findings(read_document(file))
        findings.append(found)
        if (agency := read_agency(found, vault, checks)) is not None:
            check_agency(agency, provision, found, uniques, trust)
            agencies.append(agency)
    return agencies, findings


def _check_texts(
    settings: Settings | None, agencies: list[Agency], wording: Wording, findings: tuple[Findings, ...]
) -> None:
    """Note SMS that would not arrive, where the files are otherwise right: what is not can have no office yet."""
    if settings is None or any(p.severity is Severity.ERROR for each in findings for p in each.problems):
        return
    noc = settings.noc_brief(subject="", subject_en="")
    check_texts(noc.office, noc.prefix, wording, findings[0], ("noc", "short"))
    shared = settings.shared()
    for agency, found in zip(agencies, findings[1:], strict=True):
        brief = agency.brief(shared)
        check_texts(brief.office, brief.prefix, wording, found, ("agency",))


def _check_vigil(settings: Settings, agencies: list[Agency], wording: Wording, findings: Findings) -> None:
    """Note who is to be drilled and is nobody, and what the lifeline could not say."""
    if settings.drills is not None:
        people = {*settings.contacts, *settings.noc.contacts, *(key for agency in agencies for key in agency.contacts)}
        check_drilled(settings.drills, people, findings, ("drills",))
        contacts = [*settings.contacts.items(), *settings.noc.contacts.items()]
        contacts += [each for agency in agencies for each in agency.contacts.items()]
        taking_part = [contact for key, contact in contacts if settings.drills.concerns(key)]
        exercises = {channel: sum(c.answers_on(channel) for c in taking_part) for channel in Channel}
        lines = {channel: len(entries) for channel, entries in settings.gateways.items()}
        check_room(settings.drills, exercises, lines, findings, ("drills",))
    if settings.lifeline is not None:
        for key, problem in lifeline_faults(settings.noc.build_office(), wording):
            findings.error(("lifeline",), f"an SMS of it would be refused or split: {key}: {problem}")


def _check_references(agencies: list[Agency], provision: Provision, findings: Findings) -> None:
    """Note when routes across sides have too few mailboxes of ours to tell the sides apart."""
    if provision.references is None or len(provision.references) >= 2:
        return
    for agency in agencies:
        if agency.routes is None or any(route.direction is not RouteDirection.INTERNAL for route in agency.routes):
            number = "none" if not provision.references else "only one"
            findings.error(
                ("references",),
                f"there is {number}, and one alone cannot tell whose side is broken",
                "at least two reference mailboxes with different providers",
            )
            return
