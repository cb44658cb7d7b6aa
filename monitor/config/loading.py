"""Loading of the whole configuration: the settings file and the documents of all agencies.

An agency's document is a file, or a text in the database. Unchanged documents are not read again. *Reading* builds the
model of a document; *checking* records problems of the model. A *reference* is a mailbox of the operator outside the
agencies. The *registry* has all agencies, mailboxes and routes. The *wording* is the set of texts of notifications.
"""

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
from alerts.wording.out_of_band import find_problems as out_of_band_problems
from alerts.wording.sms import WorstCase
from alerts.wording.texts import Wording
from monitor.config.agency.calendar import check_gazette, read_gazette
from monitor.config.agency.contact import contact_channels
from monitor.config.agency.route import RouteDirection
from monitor.config.fields.trust import Trust, TrustStoreError
from monitor.config.files.document import SUFFIXES, Document, document_from_text, list_agency_files, read_document
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Path as KeyPath
from monitor.config.files.problem import Problem, Severity
from monitor.config.files.secret import SecretLookup, SecretResolver, StoredSecret
from monitor.config.files.section import IN_DATABASE
from monitor.config.model.registry import Agency, Registry, build_registry
from monitor.config.model.settings import Settings, SettingsContext
from monitor.config.model.stored_secrets import SecretCache, StoredSecretLookup
from monitor.config.review import (
    apply_environment,
    build_settings_context,
    check_agency,
    check_settings,
    find_listen_problem,
    read_agency,
    read_settings,
)
from monitor.config.service.drill import check_drill_contacts, check_drill_duration
from monitor.config.service.gateway import gateway_kinds
from monitor.config.service.mail_provider import build_mail_providers
from monitor.config.validation.capacity import (
    Workload,
    build_spread,
    check_probing_load,
    check_storage,
    compute_workloads,
)
from monitor.config.validation.duplicate import Claim, Claims, NameRegistry, check_shared_domains
from monitor.config.validation.expiry import check_future_problems
from monitor.config.validation.independence import check_dependent_references, dependent_references
from monitor.config.validation.reachability import check_rotas_used
from monitor.config.validation.texts import check_sms_texts, load_wording
from monitor.model.document import DocumentVersion, WrittenDocument
from monitor.model.mail_provider import MailProviders
from monitor.model.pool import Spread
from monitor.model.translatable import translatable
from monitor.runtime.plugins import check_kinds
from monitor.store.admin.documents import read_documents
from monitor.store.admin.duty import DutyRecords
from monitor.store.admin.unopened import StoreUnreadableError
from probes.credentials.oauth_endpoint import RotationFactory
from probes.model.check import CheckKind


@dataclass(slots=True, kw_only=True)
class CachedAgency:
    """Cached results for one agency's document. Each result is valid while its inputs are unchanged."""

    #: Result of reading; `None` if the document cannot be parsed.
    agency: Agency | None
    #: Problems found by reading, and the document.
    read_findings: Findings
    #: Input of reading besides the document: the results for the secrets that the document names.
    secret_lookups: MutableSequence[SecretLookup]
    #: Problems found by reading and by checking the document by itself.
    all_findings: Findings
    #: Names in the document that must be unique in the whole configuration.
    claims: Claims = field(default_factory=Claims)
    #: Inputs of checking: values of the settings, and the results of `authority_context` by file.
    settings_context: SettingsContext | None = None
    tls_contexts: Mapping[Path | None, ssl.SSLContext | str] = field(default_factory=dict)
    #: Paths of the references that would fail together with the agency, and their input: the `LoadCache.references` at
    #: that time.
    dependent_references: frozenset[KeyPath] = frozenset()
    references: object = None
    #: Problems of the agency's SMS, and their input: the wording.
    sms_problems: Sequence[Problem] = ()
    wording: Wording | None = None

    def is_checked_by(self, settings_context: SettingsContext, trust: Trust) -> bool:
        """Whether the document has been checked with these inputs, so that the cached result is valid."""
        return self.settings_context is settings_context and all(
            authority_context(trust, file) == context for file, context in self.tls_contexts.items()
        )


def authority_context(trust: Trust, file: Path | None) -> ssl.SSLContext | str:
    """Return the TLS context of a file of certificate authorities, or the reason why the file is unusable."""
    try:
        return trust.context(file)
    except TrustStoreError as error:
        return str(error)


@dataclass(slots=True, kw_only=True)
class LoadCache:
    """Cache between reads of the configuration. Only one read may use it at a time: hold `lock`."""

    trust: Trust = field(default_factory=Trust)
    #: By label of the document's source.
    agencies: dict[str, CachedAgency] = field(default_factory=dict)
    #: A read replaces each of the next three objects only by an unequal one, so that they may be compared by identity.
    settings_context: SettingsContext = field(default_factory=SettingsContext)
    wording: Wording | None = None
    references: object = None
    #: Inputs of `known_workloads` besides the routes: the providers' limits, and how messages are spread over sites and
    #: pool mailboxes.
    workload_inputs: tuple[MailProviders, Spread] | None = None
    #: By agency code, the load that its routes cause for mail providers. A route leads from one mailbox to another.
    known_workloads: Mapping[str, Workload] = field(default_factory=dict, repr=False)
    #: Longest SMS in `wording`, without the parts that depend on the agency. Computing them takes a fifth of a read.
    worst_case_sms: WorstCase | None = None
    #: The registry in use. A new registry takes over its unchanged mailboxes as the same objects, with access tokens.
    active_registry: Registry | None = None
    #: Returns the documents of the last read of the database, by agency. A document is read again only if the database
    #: has a later version.
    document_versions: Callable[[], Mapping[str, DocumentVersion]] = dict
    #: Decrypted secrets that users entered in the portal.
    stored_secrets: SecretCache = field(default_factory=dict, repr=False)
    #: Store for *rotated* refresh tokens, by which an authorization server replaces those from the portal; `None`: they
    #: are kept only in memory.
    rotations: RotationFactory | None = None
    #: Needed because a read in a thread continues when its caller is cancelled, and another read may start meanwhile.
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def reuse_settings_context(self, settings_context: SettingsContext) -> SettingsContext:
        """Return the cached object that equals *settings_context*; otherwise cache *settings_context*."""
        if settings_context != self.settings_context:
            self.settings_context = settings_context
        return self.settings_context

    def reuse_wording(self, wording: Wording | None) -> Wording | None:
        """Return the cached object that equals *wording*; otherwise cache *wording*."""
        if wording is not None and wording != self.wording:
            self.wording, self.worst_case_sms = wording, None
        return None if wording is None else self.wording

    def compute_workloads(
        self, registry: Registry, mail_providers: MailProviders, spread: Spread
    ) -> Mapping[str, Workload]:
        """Return the workload of each agency's routes, by code. Only workloads of changed routes are computed."""
        if (mail_providers, spread) != self.workload_inputs:
            self.workload_inputs, self.known_workloads = (mail_providers, spread), {}
        self.known_workloads = compute_workloads(registry, mail_providers, spread, self.known_workloads)
        return self.known_workloads

    def reuse_references(self, settings: Settings) -> object:
        """Return an object that stays the same while the references and the official suffixes are unchanged."""
        references = (settings.references, settings.references_in_use, settings.official_suffixes)
        if references != self.references:
            self.references = references
        return self.references

    def worst_case(self, wording: Wording) -> WorstCase:
        """Return the longest SMS in *wording*, which must be the wording that `reuse_wording` returned last."""
        if self.worst_case_sms is None:
            self.worst_case_sms = WorstCase(wording)
        return self.worst_case_sms


#: Directory that is read if the settings file names no usable one, so that problems of agency files are reported as
#: well.
_DEFAULT_DIRECTORY = "agencies"


class ConfigurationError(Exception):
    """The configuration is unusable. The error contains all problems, including warnings."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """A usable configuration."""

    settings: Settings
    registry: Registry
    wording: Wording
    #: Digest by which the audit log identifies a configuration. The command `sha256sum pantau.yaml agencies/*.yaml |
    #: cut -c1-64 | sha256sum` prints it (with `calendar.file` as last file, if configured).
    digest: str = ""
    #: Number of files and stored documents read.
    files: int = 0
    #: Problems of unavailable values, such as secrets; the configuration works without these values.
    losses: tuple[Problem, ...] = ()
    #: The text of each agency's document.
    documents: tuple[WrittenDocument, ...] = ()

    @property
    def is_secrets_key_missing(self) -> bool:
        """Whether `portal.secrets_key` is unavailable: only cached stored secrets are readable, until a restart."""
        return any(each.key.startswith("portal.secrets_key") for each in self.losses)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgencySource:
    """Source of an agency's document: a file, or a text."""

    #: Name of the source in problems.
    label: str
    #: The file's name. A document in the database has the name that its file would have.
    name: str
    file: Path | None = None
    text: str = field(default="", repr=False)

    def read(self, cached: Document | None = None) -> Document:
        """Read the document. Return *cached* if the content is the same as when *cached* was read."""
        if self.file is not None:
            return read_document(self.file, cached)
        return document_from_text(self.text, self.label, cached)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """Result of reading a configuration."""

    #: Problems of the settings file first, then by file and line.
    problems: tuple[Problem, ...]
    #: Number of files and stored documents read.
    files: int
    #: See `Configuration.digest`.
    digest: str
    #: `None` if a problem is an error.
    configuration: Configuration | None = None
    #: Why the documents in the database could not be read; `None` if they were read.
    database_error: StoreUnreadableError | None = None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Problems that make the configuration unusable."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)

    @property
    def losses(self) -> tuple[Problem, ...]:
        """Problems of unavailable values; the configuration works without these values."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.LOSS)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Problems that should be reviewed."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.WARNING)

    def require_configuration(self) -> Configuration:
        """Return the configuration. Raise `ConfigurationError` if it is unusable.

        Raise `StoreUnreadableError` if the documents are in a database that is unavailable, so that it is unknown
        whether they are valid.
        """
        if self.database_error is not None:
            raise self.database_error
        if self.configuration is None:
            raise ConfigurationError(self.problems)
        return self.configuration


def load(
    path: Path,
    environ: Mapping[str, str],
    *,
    kinds: Mapping[str, GatewayKind] | None = None,
    now: datetime | None = None,
    read_duty_records: Callable[[Settings], DutyRecords] = lambda _: DutyRecords(),
    cache: LoadCache | None = None,
    documents: Sequence[AgencySource] | None = None,
    new_secrets: Mapping[str, StoredSecret] = MappingProxyType({}),
) -> LoadResult:
    """Read the settings file at *path* and the documents of all agencies. Invalid content is a problem of the result.

    - *environ*: the environment variables.
    - *kinds*: the kinds of gateways that may be configured, by name; default: the shipped ones. Raise `TypeError` if
      a shipped kind of gateway or check is invalid.
    - *now*: if given, problems that come with time are reported as well, such as gaps in on-call schedules. They are
      warnings.
    - *read_duty_records*: returns the stored records that the checks for such problems need.
    - *cache*: results of earlier reads with the same kinds of gateways, which only make the read faster.
    - *documents*: documents of all agencies, which are read instead of those at the configured location.
    - *new_secrets*: secrets that the documents name and that are not stored yet, by name.
    """
    cache = cache or LoadCache()
    with cache.lock:
        kinds = gateway_kinds() if kinds is None else kinds
        return _load(
            path,
            environ,
            cache,
            _ReadContext(
                gateway_kinds=kinds,
                check_kinds=check_kinds(),
                now=now,
                read_duty_records=read_duty_records,
                new_secrets=new_secrets,
            ),
            documents,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReadContext:
    """Inputs of one read besides the files: the available plug-ins, the time, stored records and new secrets."""

    gateway_kinds: Mapping[str, GatewayKind]
    #: Kinds of checks that the service makes on what mail depends on, such as DNS.
    check_kinds: Mapping[str, CheckKind]
    now: datetime | None
    read_duty_records: Callable[[Settings], DutyRecords]
    new_secrets: Mapping[str, StoredSecret] = field(repr=False)


def _load(
    path: Path,
    environ: Mapping[str, str],
    cache: LoadCache,
    context: _ReadContext,
    documents: Sequence[AgencySource] | None,
) -> LoadResult:
    secret_resolver = SecretResolver(directory=path.parent, environ=environ)
    unique_names, claims = NameRegistry(), list[Claim]()
    cache.trust.recheck_files()
    findings = Findings(read_document(path))
    settings = read_settings(findings, secret_resolver, context.gateway_kinds, context.check_kinds)
    settings_context = cache.reuse_settings_context(build_settings_context(settings, findings))
    if settings is not None:
        check_settings(settings, settings_context, findings, claims, cache.trust)
        unique_names.register(Claims(claims, findings), findings)
    settings, gazette_findings = _with_gazette(settings, secret_resolver, findings)

    # Read and check each agency's document by itself.
    database_error = None
    if documents is None:
        try:
            documents = _agency_sources(path, settings, findings, cache)
        except StoreUnreadableError as error:
            findings["agencies"].error(str(error), "the same, once it can be read again")
            database_error, documents = error, ()
    wording = cache.reuse_wording(load_wording(settings, findings))
    secret_resolver = replace(
        secret_resolver,
        find_stored=StoredSecretLookup(
            settings, context.new_secrets, cache.stored_secrets, resolves_rotations=cache.rotations is not None
        ),
    )
    cached_agencies = _read_agencies(documents, secret_resolver, settings_context, context.check_kinds, cache)
    # Copy the cached findings, to which the following checks add problems that depend on other documents.
    agency_findings = [each.all_findings.copy() for each in cached_agencies]
    for each, file_findings in zip(cached_agencies, agency_findings, strict=True):
        unique_names.register(each.claims, file_findings)
    if wording is not None:
        _check_texts(settings, cached_agencies, wording, cache, (findings, *agency_findings))
    agencies = [each.agency for each in cached_agencies if each.agency is not None]
    _check_references(agencies, settings_context, findings)

    loaded = _build_result((findings, *agency_findings, *gazette_findings), environ)
    if loaded.errors or settings is None or wording is None:
        return replace(loaded, database_error=database_error)

    # Each document is valid by itself: check all of them together.
    registry = build_registry(
        {agency.agency: agency for agency in agencies},
        settings,
        cache.trust,
        cache.active_registry,
        rotations=cache.rotations,
    )
    findings_by_agency = {agency.agency: each for agency, each in zip(agencies, agency_findings, strict=True)}
    findings_by_code = {"": findings, **findings_by_agency}
    providers, spread = build_mail_providers(settings.mail_providers), build_spread(settings)
    agency_workloads = cache.compute_workloads(registry, providers, spread)
    check_probing_load(agency_workloads, providers, findings_by_code, spread)
    check_shared_domains(registry.agencies, findings_by_agency)
    check_dependent_references(settings, _find_dependent_references(cached_agencies, settings, cache), findings)
    check_rotas_used(settings, registry.agencies, findings_by_code)
    _check_drills_and_alerts(settings, agencies, wording, findings)
    loaded = _build_result((findings, *agency_findings, *gazette_findings), environ)
    if loaded.errors:
        return loaded
    if context.now is not None:
        check_future_problems(settings, registry.agencies, findings_by_code, context.now, context.read_duty_records)
        check_storage(settings, registry.routes, findings)
        loaded = _build_result((findings, *agency_findings, *gazette_findings), environ)
    settings = apply_environment(settings, environ)
    written_documents = [
        WrittenDocument(agency=each.agency.agency, name=source.name, text=each.read_findings.document.text)
        for source, each in zip(documents, cached_agencies, strict=True)
        if each.agency is not None
    ]
    configuration = Configuration(
        settings=settings,
        registry=registry,
        wording=wording,
        digest=loaded.digest,
        files=loaded.files,
        losses=loaded.losses,
        documents=tuple(written_documents),
    )
    return replace(loaded, configuration=configuration)


def _with_gazette(
    settings: Settings | None, secret_resolver: SecretResolver, findings: Findings
) -> tuple[Settings | None, tuple[Findings, ...]]:
    """Return the settings with the holidays and workdays in `calendar.file`, a *gazette*, and the findings in it."""
    if settings is None or settings.calendar.file is None or findings["calendar"].is_broken:
        return settings, ()
    document = read_document(settings.calendar.file)
    if not document.readable and not document.problems[0].line:
        # The problem has no line in the gazette, so report it at the key that names the gazette.
        problem = document.problems[0]
        findings["calendar", "file"].error(f"{settings.calendar.file} {problem.message}", problem.instead)
        return settings, ()
    gazette_findings = Findings(document)
    gazette = read_gazette(gazette_findings, secret_resolver)
    if gazette is not None:
        check_gazette(gazette, gazette_findings)
    calendar = settings.calendar.with_gazette(gazette)
    return settings.model_copy(update={"calendar": calendar}), (gazette_findings,)


def _build_result(findings: tuple[Findings, ...], environ: Mapping[str, str]) -> LoadResult:
    """Return the result with the problems and digests of all documents, without the configuration."""
    listen_problem = find_listen_problem(environ)
    problems = [] if listen_problem is None else [listen_problem]
    for each in findings:
        problems += each.problems
    digests = "".join(f"{each.document.digest}\n" for each in findings)
    return LoadResult(
        problems=tuple(problems),
        files=len(findings),
        digest=hashlib.sha256(digests.encode()).hexdigest(),
    )


def _agency_sources(
    path: Path, settings: Settings | None, findings: Findings, cache: LoadCache
) -> Sequence[AgencySource]:
    if settings is not None and settings.agencies == IN_DATABASE and not findings["agencies"].is_broken:
        return _stored_sources(settings, findings, cache)
    files = _agency_files(path, settings, findings)
    return [AgencySource(label=str(file), name=file.name, file=file) for file in files]


def _stored_sources(settings: Settings, findings: Findings, cache: LoadCache) -> Sequence[AgencySource]:
    server = None if settings.store is None else settings.store.build()
    documents = (
        each.document for each in read_documents(settings.state_dir, server, cache.document_versions()).values()
    )
    stored_documents = [each for each in documents if each is not None]
    if not stored_documents:
        # Normally an error, because a service without agencies monitors nothing. But users of the portal can add the
        # first agency only while the service runs.
        record = findings["agencies"].warning if settings.allows_portal_edits else findings["agencies"].error
        instead = "the same, after `pantau apply DIRECTORY` with the agency files"
        if settings.allows_portal_edits:
            instead += ", or add the first in the portal (/agencies)"
            if len(findings.document.data.get("references") or ()) < 2:
                # Warn the operator now. Otherwise the portal rejects the first agency, and its users cannot add
                # references.
                findings["references"].warning(
                    "there are fewer than two: until there are two, agencies that are added in the portal are rejected",
                    "at least two reference mailboxes with different providers",
                )
        record("the store holds no agency", instead)
    return [stored_source(each) for each in stored_documents]


def stored_source(document: WrittenDocument) -> AgencySource:
    """Return the source of a stored document."""
    return AgencySource(label=stored_document_label(document.agency), name=document.name, text=document.text)


@lru_cache(maxsize=16_384)
def stored_document_label(agency: str) -> str:
    """Return the name by which problems refer to an agency's document in the database."""
    return translatable("{agency} in the store", agency=agency)


def _agency_files(path: Path, settings: Settings | None, findings: Findings) -> list[Path]:
    has_directory = settings is not None and not findings["agencies"].is_broken
    directory = settings.agencies if settings is not None and has_directory else path.parent / _DEFAULT_DIRECTORY
    try:
        files = list_agency_files(directory)
        agency_file_set = {*files}
        overlooked = sorted(
            each for each in directory.iterdir() if each not in agency_file_set and _looks_like_agency_file(each)
        )
    except (OSError, ValueError):
        if has_directory:
            instead = translatable("the directory of agency files, or: {otherwise}", otherwise=IN_DATABASE)
            findings["agencies"].error(
                translatable("{directory} is no directory that can be read", directory=directory), instead
            )
        return []
    for file in overlooked if has_directory else ():
        message = translatable(
            "{file} is not read: agency files are called *.yaml and lie in {directory} itself",
            file=file,
            directory=directory,
        )
        findings["agencies"].warning(message, "another name, or one that begins with a dot if that is intended")
    if not files and has_directory:
        # An error, because a service that monitors nothing would always appear healthy.
        findings["agencies"].error(
            translatable("{directory} holds no agency file (*.yaml)", directory=directory),
            "a directory with one file an agency",
        )
    return files


def _looks_like_agency_file(file: Path) -> bool:
    """Whether a user would expect *file*, or files in this directory, to be read: ".YAML", ".yaml.txt"."""
    if file.name.startswith("."):
        return False
    if file.is_dir():
        return any(each.suffix in SUFFIXES for each in file.glob("*"))
    return file.name.lower().strip().removesuffix(".txt").endswith(SUFFIXES)


def _read_agencies(
    sources: Sequence[AgencySource],
    secret_resolver: SecretResolver,
    settings_context: SettingsContext,
    checks: Mapping[str, CheckKind],
    cache: LoadCache,
) -> Sequence[CachedAgency]:
    """Return the results of reading and checking each source by itself. Valid cached results are reused."""
    cached_agencies = {}
    for source in sources:
        cached = cache.agencies.get(source.label)
        document = source.read(cached.read_findings.document if cached else None)
        if cached is None or document is not cached.read_findings.document:
            cached = _read_agency(Findings(document), secret_resolver.with_separate_lookups(), checks)
        elif not secret_resolver.are_unchanged(cached.secret_lookups):
            cached = _read_agency(Findings(source.read()), secret_resolver.with_separate_lookups(), checks)
        if not cached.is_checked_by(settings_context, cache.trust):
            _check_agency(cached, settings_context, cache.trust)
        cached_agencies[source.label] = cached
    cache.agencies = cached_agencies
    return list(cached_agencies.values())


def _read_agency(findings: Findings, secret_resolver: SecretResolver, checks: Mapping[str, CheckKind]) -> CachedAgency:
    agency = read_agency(findings, secret_resolver, checks)
    return CachedAgency(
        agency=agency, read_findings=findings, all_findings=findings, secret_lookups=secret_resolver.lookups
    )


def _check_agency(cached: CachedAgency, settings_context: SettingsContext, trust: Trust) -> None:
    findings, claims = cached.read_findings.copy(), list[Claim]()
    if cached.agency is not None:
        check_agency(cached.agency, settings_context, findings, claims, trust)
        mailboxes = cached.agency.mailboxes.values()
        ca_files = {box.ca_file for box in mailboxes} | {
            box.login.oauth.ca_file for box in mailboxes if box.login.oauth
        }
        cached.tls_contexts = {file: authority_context(trust, file) for file in ca_files}
    # The cached documents of thousands of agencies need less memory without their data.
    cached.read_findings.document = findings.document = findings.document.compacted()
    cached.all_findings, cached.claims = findings, Claims(claims, findings)
    cached.settings_context = settings_context


def _find_dependent_references(
    cached_agencies: Sequence[CachedAgency], settings: Settings, cache: LoadCache
) -> Mapping[str, frozenset[KeyPath]]:
    """Return, by agency code, the paths of the references that would fail together with the agency."""
    references, by_agency = cache.reuse_references(settings), {}
    for cached in cached_agencies:
        if cached.agency is not None:
            if cached.references is not references:
                cached.dependent_references = dependent_references(cached.agency, settings)
                cached.references = references
            by_agency[cached.agency.agency] = cached.dependent_references
    return by_agency


def _check_texts(
    settings: Settings | None,
    cached_agencies: Sequence[CachedAgency],
    wording: Wording,
    cache: LoadCache,
    findings: Sequence[Findings],
) -> None:
    """Record SMS that would be rejected or split.

    If any document has errors, no SMS is checked, because names in it may be substitutes for invalid values.
    *findings*: those in the settings file first, then those in each agency's document.
    """
    if settings is None or any(p.severity is Severity.ERROR for each in findings for p in each.problems):
        return
    noc, texts = settings.build_noc_policy(subject="", subject_en=""), cache.worst_case(wording)
    check_sms_texts(noc.office, noc.prefix, texts, findings[0]["noc", "short"])
    for cached, agency_findings in zip(cached_agencies, findings[1:], strict=True):
        if cached.agency is not None and cached.wording is not wording:
            sms_findings = Findings(cached.read_findings.document)
            check_sms_texts(
                cached.agency.build_office(), number_prefix(cached.agency.agency), texts, sms_findings["agency"]
            )
            cached.sms_problems, cached.wording = sms_findings.problems, wording
        agency_findings.add(cached.sms_problems)


def _check_drills_and_alerts(
    settings: Settings, agencies: Sequence[Agency], wording: Wording, findings: Findings
) -> None:
    """Record unknown participants of drills, drills without enough time, and unusable texts of out-of-band alerts.

    A *drill* is a test notification of staff. An *out-of-band alert* reports to the NOC that Pantau itself fails.
    """
    if settings.drills is not None:
        people = {*settings.contacts, *settings.noc.contacts, *(key for agency in agencies for key in agency.contacts)}
        check_drill_contacts(settings.drills, people, findings["drills"])
        shared_channels = [*contact_channels(settings.contacts), *contact_channels(settings.noc.contacts)]
        agency_channels = chain.from_iterable(agency.contact_channels for agency in agencies)
        counts = Counter(
            channel for key, channel in chain(shared_channels, agency_channels) if settings.drills.includes(key)
        )
        drills_by_channel = {channel: counts[channel] for channel in Channel}
        gateways_by_channel = {channel: len(entries) for channel, entries in settings.gateways.items()}
        check_drill_duration(settings.drills, drills_by_channel, gateways_by_channel, findings["drills"])
    if settings.out_of_band is not None:
        for key, problem in out_of_band_problems(settings.noc.build_office(), wording):
            findings["out_of_band"].error(
                translatable("an SMS of it would be rejected or split: {key}: {problem}", key=key, problem=problem)
            )


def _check_references(agencies: list[Agency], settings_context: SettingsContext, findings: Findings) -> None:
    """Record an error if a route needs references, but fewer than two are configured.

    With only one reference, nobody could tell whether the agency or the reference is at fault.
    """
    if settings_context.references is None or len(findings.document.data.get("references", ())) >= 2:
        return
    for agency in agencies:
        if agency.routes is None or any(route.direction is not RouteDirection.INTERNAL for route in agency.routes):
            number = translatable("none") if not settings_context.references else translatable("only one")
            findings["references"].error(
                translatable("there is {number}, and one alone cannot show which side is at fault", number=number),
                "at least two reference mailboxes with different providers",
            )
            return
