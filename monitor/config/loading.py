"""Loading of the whole configuration: the settings file and all agency files. Unchanged files are not read again."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import MappingProxyType

from alerts.model.channel import Channel
from alerts.model.gateway import GatewayKind
from alerts.model.number import number_prefix
from alerts.wording.out_of_band import faults as lifeline_faults
from alerts.wording.sms import WorstCase
from alerts.wording.texts import Wording
from monitor.config.agency.calendar import check_gazette, read_gazette
from monitor.config.agency.contact import lines_of
from monitor.config.agency.route import RouteDirection
from monitor.config.fields.trust import Trust, TrustStoreError
from monitor.config.files.document import ENDINGS, Document, agency_files, document_of, read_document
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Path as KeyPath
from monitor.config.files.problem import Problem, Severity
from monitor.config.files.secret import SecretLookup, SecretResolver, StoredSecret
from monitor.config.files.section import IN_DATABASE
from monitor.config.model.registry import Agency, Registry, build_registry
from monitor.config.model.settings import Settings, SettingsContext
from monitor.config.model.typed import ReadSecrets, StoredSecrets
from monitor.config.review import (
    check_agency,
    check_settings,
    listen_problem,
    provision_of,
    read_agency,
    read_settings,
    with_environment,
)
from monitor.config.service.drill import check_drilled, check_room
from monitor.config.service.gateway import gateway_kinds
from monitor.config.service.mail_provider import build_mail_providers
from monitor.config.validation.capacity import Workload, check_storage, check_timetable, spread_of, workloads
from monitor.config.validation.duplicate import Claim, Claims, Uniques, check_shared_domains
from monitor.config.validation.expiry import check_outlook
from monitor.config.validation.independence import check_neighbours, references_near
from monitor.config.validation.reachability import check_rotas_used
from monitor.config.validation.texts import check_texts, read_texts
from monitor.model.document import DocumentVersion, WrittenDocument
from monitor.model.lazy_text import said
from monitor.model.mail_provider import MailProviders
from monitor.model.pool import Spread
from monitor.runtime.plugins import check_kinds
from monitor.store.admin.documents import read_documents
from monitor.store.admin.duty import DutyRecords
from monitor.store.admin.unopened import DocumentsAwayError
from probes.credentials.oauth_endpoint import Rotations
from probes.model.check import CheckKind


@dataclass(slots=True, kw_only=True)
class CachedAgency:
    """Cached results for one agency file. Each result is valid while its inputs are unchanged."""

    #: Results of reading. Inputs: the file and the secrets that it names.
    agency: Agency | None
    read: Findings
    secrets: MutableSequence[SecretLookup]
    #: Results of checking the file by itself. Inputs: the settings' context and the authorities that the file names.
    checked: Findings
    claims: Claims = field(default_factory=Claims)
    #: Mailboxes of references that would fail together with the agency. Input: the references.
    near: frozenset[KeyPath] = frozenset()
    near_of: object = None
    provision: SettingsContext | None = None
    authorities: Mapping[Path | None, ssl.SSLContext | str] = field(default_factory=dict)
    #: Results of checking its SMS. Input: the wording.
    texts: Sequence[Problem] = ()
    wording: Wording | None = None

    def is_checked_by(self, provision: SettingsContext, trust: Trust) -> bool:
        """Whether another check would give the same result."""
        return self.provision is provision and all(
            authority(trust, file) == context for file, context in self.authorities.items()
        )


def authority(trust: Trust, file: Path | None) -> ssl.SSLContext | str:
    """Return the TLS context of a file of authorities, or why the file is unusable."""
    try:
        return trust.context(file)
    except TrustStoreError as error:
        return str(error)


@dataclass(slots=True, kw_only=True)
class LoadCache:
    """Cache between reads of the configuration. Only one read may use it at a time: hold `lock`."""

    trust: Trust = field(default_factory=Trust)
    files: dict[str, CachedAgency] = field(default_factory=dict)
    #: Each is the same object while its value is equal.
    provision: SettingsContext = field(default_factory=SettingsContext)
    wording: Wording | None = None
    references: object = None
    providers: tuple[MailProviders, Spread] | None = None
    #: The workload of each agency's routes with these providers.
    loads: Mapping[str, Workload] = field(default_factory=dict, repr=False)
    #: Worst-case SMS in this wording, as far as agencies are alike. Computing them takes a fifth of a read; they are
    #: valid until the wording changes.
    texts: WorstCase | None = None
    #: The agencies in use. An unchanged mailbox is kept as the same object, with its access token.
    in_force: Registry | None = None
    #: Returns the stored documents of the last read, by agency. Documents that are still the latest are not read again.
    versions: Callable[[], Mapping[str, DocumentVersion]] = dict
    #: Secrets entered in the portal that documents name.
    typed: ReadSecrets = field(default_factory=dict, repr=False)
    #: The successors of those refresh tokens; `None`: they are stored only in memory.
    rotations: Rotations | None = None
    #: A read in a thread runs to its end even if its caller is cancelled.
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def same_provision(self, provision: SettingsContext) -> SettingsContext:
        """Return the cached object that equals *provision*; otherwise cache *provision*."""
        if provision != self.provision:
            self.provision = provision
        return self.provision

    def same_wording(self, wording: Wording | None) -> Wording | None:
        """Return the cached object that equals *wording*; otherwise cache *wording*."""
        if wording is not None and wording != self.wording:
            self.wording, self.texts = wording, None
        return None if wording is None else self.wording

    def workloads(self, registry: Registry, mail_providers: MailProviders, spread: Spread) -> Mapping[str, Workload]:
        """Return the workload of each agency's routes. Only new routes are computed."""
        if (mail_providers, spread) != self.providers:
            self.providers, self.loads = (mail_providers, spread), {}
        self.loads = workloads(registry, mail_providers, spread, self.loads)
        return self.loads

    def same_references(self, settings: Settings) -> object:
        """Return an object that stays the same while the references, and those in use, are unchanged."""
        references = (settings.references, settings.references_in_use, settings.official_suffixes)
        if references != self.references:
            self.references = references
        return self.references

    def worst_case(self, wording: Wording) -> WorstCase:
        """Return the worst-case SMS of the wording that `same_wording` returned last."""
        if self.texts is None:
            self.texts = WorstCase(wording)
        return self.texts


#: Default directory of agency files. It is read if the settings file cannot be parsed, so that problems of agency files
#: are shown as well.
_USUAL_DIRECTORY = "agencies"


class ConfigurationError(Exception):
    """The configuration is unusable. Contains all problems, including warnings."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A usable configuration."""

    settings: Settings
    registry: Registry
    wording: Wording
    #: Digest of the settings file and the agency files, as computed by `sha256sum pantau.yaml agencies/*.yaml | cut
    #: -c1-64 | sha256sum` (with `calendar.file` at the end, if configured). The audit log identifies a configuration by
    #: it.
    digest: str = ""
    files: int = 0
    #: Problems of unavailable items, without which all else works.
    losses: tuple[Problem, ...] = ()
    #: The content of each agency's file as it was read.
    documents: tuple[WrittenDocument, ...] = ()

    @property
    def has_lost_key(self) -> bool:
        """Whether the key is missing, so that secrets entered in the portal will be unreadable after the next start."""
        return any(each.key.startswith("portal.secrets_key") for each in self.losses)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencySource:
    """Source of an agency's document: a file, or a text."""

    #: Its name in problems.
    called: str
    #: The name of its file, actual or hypothetical.
    name: str
    file: Path | None = None
    text: str = field(default="", repr=False)

    def read(self, known: Document | None = None) -> Document:
        """Read the document. Return *known* if the content is the same as when *known* was read."""
        if self.file is not None:
            return read_document(self.file, known)
        return document_of(self.text, self.called, known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """Result of reading a configuration."""

    #: Problems of the settings file first, then by file and line.
    problems: tuple[Problem, ...]
    #: Number of files read.
    files: int
    #: See `Configuration.digest`.
    digest: str
    #: `None` if there is an error.
    configuration: Configuration | None = None
    #: Why the documents in the store could not be read.
    away: DocumentsAwayError | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Problems that make the configuration unusable."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)

    @property
    def losses(self) -> tuple[Problem, ...]:
        """Problems of unavailable items, without which all else works."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.LOSS)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Problems that should be reviewed."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.WARNING)

    def accepted(self) -> Configuration:
        """Return the configuration. Raise `ConfigurationError` if it is unusable.

        Raise `DocumentsAwayError` if that is unknown, because a part of the configuration is in the unavailable
        database.
        """
        if self.away is not None:
            raise self.away
        if self.configuration is None:
            raise ConfigurationError(self.problems)
        return self.configuration


def load(
    path: Path,
    environ: Mapping[str, str],
    *,
    kinds: Mapping[str, GatewayKind] | None = None,
    now: datetime | None = None,
    duty: Callable[[Settings], DutyRecords] = lambda _: DutyRecords(),
    memory: LoadCache | None = None,
    documents: Sequence[AgencySource] | None = None,
    typed: Mapping[str, StoredSecret] = MappingProxyType({}),
) -> Loaded:
    """Read the settings file at *path* and the agencies that it names. Invalid file content raises no error.

    *kinds* are the gateways that may be configured; default: those that are shipped. With *now*, future problems are
    reported as well; they do not make a configuration unusable. *duty*: the stored overrides and drill results, which
    those checks use. Raise `TypeError` if one of the kinds is invalid.

    *memory*: cache of earlier reads with the same kinds; the result is the same as without. *documents*: the documents
    of all agencies, which replace those at the configured place. *typed*: secrets that the documents name and that are
    about to be stored.
    """
    memory = memory or LoadCache()
    with memory.lock:
        kinds = gateway_kinds() if kinds is None else kinds
        return _load(
            path, environ, memory, _Known(kinds=kinds, checks=check_kinds(), now=now, duty=duty, typed=typed), documents
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What may be configured, and the time of the read."""

    kinds: Mapping[str, GatewayKind]
    checks: Mapping[str, CheckKind]
    now: datetime | None
    duty: Callable[[Settings], DutyRecords]
    typed: Mapping[str, StoredSecret] = field(repr=False)


def _load(
    path: Path, environ: Mapping[str, str], memory: LoadCache, known: _Known, documents: Sequence[AgencySource] | None
) -> Loaded:
    vault, uniques, claims = SecretResolver(directory=path.parent, environ=environ), Uniques(), list[Claim]()
    memory.trust.look_again()
    findings = Findings(read_document(path))
    settings = read_settings(findings, vault, known.kinds, known.checks)
    provision = memory.same_provision(provision_of(settings, findings))
    if settings is not None:
        check_settings(settings, provision, findings, claims, memory.trust)
        uniques.settle(Claims(claims, findings), findings)
    settings, days = _with_gazette(settings, vault, findings)

    away = None
    if documents is None:
        try:
            documents = _sources(path, settings, findings, memory)
        except DocumentsAwayError as error:
            findings["agencies"].error(str(error), "the same, once it can be read again")
            away, documents = error, ()
    wording = memory.same_wording(read_texts(settings, findings))
    vault = replace(
        vault, typed=StoredSecrets(settings, known.typed, memory.typed, is_followed=memory.rotations is not None)
    )
    filed = _read_agencies(documents, vault, provision, known.checks, memory)
    others = [each.checked.copy() for each in filed]
    for each, found in zip(filed, others, strict=True):
        uniques.settle(each.claims, found)
    if wording is not None:
        _check_texts(settings, filed, wording, memory, (findings, *others))
    agencies = [each.agency for each in filed if each.agency is not None]
    _check_references(agencies, provision, findings)

    loaded = _loaded((findings, *others, *days), environ)
    if loaded.errors or settings is None or wording is None:
        return replace(loaded, away=away)
    registry = build_registry(
        {agency.agency: agency for agency in agencies},
        settings,
        memory.trust,
        memory.in_force,
        rotations=memory.rotations,
    )
    found_in = {agency.agency: each for agency, each in zip(agencies, others, strict=True)}
    providers, spread = build_mail_providers(settings.mail_providers), spread_of(settings)
    loads = memory.workloads(registry, providers, spread)
    check_timetable(loads, providers, {"": findings, **found_in}, spread)
    check_shared_domains(registry.agencies, found_in)
    check_neighbours(settings, _near_to(filed, settings, memory), findings)
    check_rotas_used(settings, registry.agencies, {"": findings, **found_in})
    _check_vigil(settings, agencies, wording, findings)
    loaded = _loaded((findings, *others, *days), environ)
    if loaded.errors:
        return loaded
    if known.now is not None:
        check_outlook(settings, registry.agencies, {"": findings, **found_in}, known.now, known.duty)
        check_storage(settings, registry.routes, findings)
        loaded = _loaded((findings, *others, *days), environ)
    settings = with_environment(settings, environ)
    written = [
        WrittenDocument(agency=each.agency.agency, name=source.name, text=each.read.document.text)
        for source, each in zip(documents, filed, strict=True)
        if each.agency is not None
    ]
    accepted = Configuration(
        settings=settings,
        registry=registry,
        wording=wording,
        digest=loaded.digest,
        files=loaded.files,
        losses=loaded.losses,
        documents=tuple(written),
    )
    return replace(loaded, configuration=accepted)


def _with_gazette(
    settings: Settings | None, vault: SecretResolver, findings: Findings
) -> tuple[Settings | None, tuple[Findings, ...]]:
    """Return the settings with the days of the gazette's file, and the findings of that file."""
    if settings is None or settings.calendar.file is None or findings["calendar"].is_broken:
        return settings, ()
    document = read_document(settings.calendar.file)
    if not document.readable and not document.problems[0].line:
        # The problem has no line in the gazette's file, so report it at the line that names the file.
        problem = document.problems[0]
        findings["calendar", "file"].error(f"{settings.calendar.file} {problem.message}", problem.instead)
        return settings, ()
    found = Findings(document)
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
        problems=tuple(problems),
        files=len(findings),
        digest=hashlib.sha256(digests.encode()).hexdigest(),
    )


def _sources(path: Path, settings: Settings | None, findings: Findings, memory: LoadCache) -> Sequence[AgencySource]:
    if settings is not None and settings.agencies == IN_DATABASE and not findings["agencies"].is_broken:
        return _stored(settings, findings, memory)
    files = _agency_files(path, settings, findings)
    return [AgencySource(called=str(file), name=file.name, file=file) for file in files]


def _stored(settings: Settings, findings: Findings, memory: LoadCache) -> Sequence[AgencySource]:
    server = None if settings.store is None else settings.store.build()
    latest = (each.document for each in read_documents(settings.state_dir, server, memory.versions()).values())
    written = [each for each in latest if each is not None]
    if not written:
        # A service without agencies is reported as unhealthy. The first agency is added in the portal, or before the
        # start.
        note = findings["agencies"].warning if settings.officers_write else findings["agencies"].error
        instead = "the same, after `pantau apply DIRECTORY` with the agency files"
        if settings.officers_write:
            instead += ", or add the first in the portal (/agencies)"
            if len(findings.document.data.get("references") or ()) < 2:
                # A user who adds the agency in the portal cannot fix the references, and would see the problem only
                # then.
                findings["references"].warning(
                    "there are not two, and an agency that is added in the portal is refused until there are",
                    "at least two reference mailboxes with different providers",
                )
        note("the store holds no agency", instead)
    return [stored_source(each) for each in written]


def stored_source(document: WrittenDocument) -> AgencySource:
    """Return the source of a stored document."""
    return AgencySource(called=called_in_store(document.agency), name=document.name, text=document.text)


@lru_cache(maxsize=16_384)
def called_in_store(agency: str) -> str:
    """Return the name of an agency's stored document in problems."""
    return said("{agency} in the store", agency=agency)


def _agency_files(path: Path, settings: Settings | None, findings: Findings) -> list[Path]:
    known = settings is not None and not findings["agencies"].is_broken
    directory = settings.agencies if settings is not None and known else path.parent / _USUAL_DIRECTORY
    try:
        files = agency_files(directory)
        read = {*files}
        overlooked = sorted(each for each in directory.iterdir() if each not in read and _is_meant(each))
    except (OSError, ValueError):
        if known:
            instead = said("the directory of agency files, or: {otherwise}", otherwise=IN_DATABASE)
            findings["agencies"].error(
                said("{directory} is no directory that can be read", directory=directory), instead
            )
        return []
    for file in overlooked if known else ():
        message = said(
            "{file} is not read: agency files are called *.yaml and lie in {directory} itself",
            file=file,
            directory=directory,
        )
        findings["agencies"].warning(message, "another name, or one that begins with a dot where that is meant")
    if not files and known:
        # A service that monitors nothing would appear healthy for ever.
        findings["agencies"].error(
            said("{directory} holds no agency file (*.yaml)", directory=directory),
            "a directory with one file an agency",
        )
    return files


def _is_meant(file: Path) -> bool:
    """Whether a user would expect the file, or the files of the directory, to be read: ".YAML", ".yaml.txt"."""
    if file.name.startswith("."):
        return False
    if file.is_dir():
        return any(each.suffix in ENDINGS for each in file.glob("*"))
    return file.name.lower().strip().removesuffix(".txt").endswith(ENDINGS)


def _read_agencies(
    sources: Sequence[AgencySource],
    vault: SecretResolver,
    provision: SettingsContext,
    checks: Mapping[str, CheckKind],
    memory: LoadCache,
) -> Sequence[CachedAgency]:
    """Return the results of reading and checking each source by itself. Valid cached results are reused."""
    filed = {}
    for source in sources:
        known = memory.files.get(source.called)
        document = source.read(known.read.document if known else None)
        if known is None or document is not known.read.document:
            known = _read_agency(Findings(document), vault.apart(), checks)
        elif not vault.still_sees(known.secrets):
            known = _read_agency(Findings(source.read()), vault.apart(), checks)
        if not known.is_checked_by(provision, memory.trust):
            _check_agency(known, provision, memory.trust)
        filed[source.called] = known
    memory.files = filed
    return list(filed.values())


def _read_agency(findings: Findings, vault: SecretResolver, checks: Mapping[str, CheckKind]) -> CachedAgency:
    agency = read_agency(findings, vault, checks)
    return CachedAgency(agency=agency, read=findings, checked=findings, secrets=vault.seen)


def _check_agency(filed: CachedAgency, provision: SettingsContext, trust: Trust) -> None:
    findings, claims = filed.read.copy(), list[Claim]()
    if filed.agency is not None:
        check_agency(filed.agency, provision, findings, claims, trust)
        boxes = filed.agency.mailboxes.values()
        files = {box.ca_file for box in boxes} | {box.login.oauth.ca_file for box in boxes if box.login.oauth}
        filed.authorities = {file: authority(trust, file) for file in files}
    filed.read.document = findings.document = findings.document.shelved()
    filed.checked, filed.claims, filed.provision = findings, Claims(claims, findings), provision


def _near_to(filed: Sequence[CachedAgency], settings: Settings, memory: LoadCache) -> Mapping[str, frozenset[KeyPath]]:
    """Return for each agency the mailboxes of references that would fail together with it."""
    references, found = memory.same_references(settings), {}
    for each in filed:
        if each.agency is not None:
            if each.near_of is not references:
                each.near, each.near_of = references_near(each.agency, settings), references
            found[each.agency.agency] = each.near
    return found


def _check_texts(
    settings: Settings | None,
    filed: Sequence[CachedAgency],
    wording: Wording,
    memory: LoadCache,
    findings: Sequence[Findings],
) -> None:
    """Record SMS that would not arrive. Skip files with errors, whose office may be missing."""
    if settings is None or any(p.severity is Severity.ERROR for each in findings for p in each.problems):
        return
    noc, texts = settings.noc_brief(subject="", subject_en=""), memory.worst_case(wording)
    check_texts(noc.office, noc.prefix, texts, findings[0]["noc", "short"])
    for each, found in zip(filed, findings[1:], strict=True):
        if each.agency is not None and each.wording is not wording:
            apart = Findings(each.read.document)
            check_texts(each.agency.build_office(), number_prefix(each.agency.agency), texts, apart["agency"])
            each.texts, each.wording = apart.problems, wording
        found.add(each.texts)


def _check_vigil(settings: Settings, agencies: Sequence[Agency], wording: Wording, findings: Findings) -> None:
    """Record unknown participants of drills, and out-of-band alerts that could not be worded."""
    if settings.drills is not None:
        people = {*settings.contacts, *settings.noc.contacts, *(key for agency in agencies for key in agency.contacts)}
        check_drilled(settings.drills, people, findings["drills"])
        ours = [*lines_of(settings.contacts), *lines_of(settings.noc.contacts)]
        theirs = chain.from_iterable(agency.lines for agency in agencies)
        concerned = Counter(channel for key, channel in chain(ours, theirs) if settings.drills.concerns(key))
        exercises = {channel: concerned[channel] for channel in Channel}
        lines = {channel: len(entries) for channel, entries in settings.gateways.items()}
        check_room(settings.drills, exercises, lines, findings["drills"])
    if settings.out_of_band is not None:
        for key, problem in lifeline_faults(settings.noc.build_office(), wording):
            findings["out_of_band"].error(
                said("an SMS of it would be refused or split: {key}: {problem}", key=key, problem=problem)
            )


def _check_references(agencies: list[Agency], provision: SettingsContext, findings: Findings) -> None:
    """Record routes between sites if there are too few reference mailboxes to separate the fault domains."""
    if provision.references is None or len(findings.document.data.get("references", ())) >= 2:
        return
    for agency in agencies:
        if agency.routes is None or any(route.direction is not RouteDirection.INTERNAL for route in agency.routes):
            number = said("none") if not provision.references else said("only one")
            findings["references"].error(
                said("there is {number}, and one alone cannot tell whose side is broken", number=number),
                "at least two reference mailboxes with different providers",
            )
            return
