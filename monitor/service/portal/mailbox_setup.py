"""Guided setup of a mailbox in the portal.

Pantau discovers and examines the servers of an address. The user chooses servers, and provides a login: a password, a
consent (OAuth permission on the provider's page), or an application that the mail administrator has authorised. Pantau
tests the login before storing it. Typed data stays in the memory of this process for half an hour, for its author only.
Attempts are limited per user: otherwise the page could serve as a port scanner, and repeated attempts with a password
could lock an account.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Final, Protocol

from alerts.persistence.clock import Clock
from monitor.audit.lifecycle import LifecycleRecorder
from monitor.config.fields.circular import domain_of
from monitor.config.fields.trust import Trust
from monitor.config.loading import Configuration
from monitor.config.service.consent import ConsentProcedure
from monitor.probing.mailbox_sign_in import SignInResult, try_mailbox
from monitor.service.errors import NotFoundError, find_agency_code
from monitor.service.portal.delegation import Application, DelegationProvider, build_delegation_provider
from monitor.service.portal.typed_mailbox import EnteredMailbox
from probes.credentials.consent import (
    AuthorizationRequest,
    Consent,
    ConsentError,
    DeviceCode,
    NoConsentReason,
    authorization_request,
    consent_error,
    exchange_code,
    poll_consent,
    request_device_code,
)
from probes.credentials.oauth import TokenCache
from probes.credentials.oauth_endpoint import RefreshTokenIssuer, RefreshTokenStore
from probes.model.check import NameServers
from probes.model.domain import is_within
from probes.model.mail_platform import MailPlatform
from probes.model.mailbox import Mailbox, OAuth, Password, Security, Server
from probes.model.probe import Timeouts
from probes.preauth import session
from probes.preauth.capabilities import ServerCapabilities, query_servers
from probes.preauth.discovery import DiscoveredServers, ServerCandidate, find_servers, platform_of_server

#: Lifetime of a setup.
LIFETIME: Final = timedelta(minutes=30)
#: Maximum of setups in memory, of all users and of one user.
_MAX_SETUPS: Final = 300
_MAX_SETUPS_PER_USER: Final = 5
#: Maximum of searches and sign-in attempts together per user, within ten minutes and within a day.
MAX_PER_TEN_MINUTES: Final = 15
MAX_PER_DAY: Final = 100
_TEN_MINUTES: Final = timedelta(minutes=10)
_DAY: Final = timedelta(days=1)
#: Maximum of refused sign-ins per account within `_REFUSAL_PERIOD`: servers lock accounts after three to ten refusals,
#: which include refusals to the users' own mail programs.
MAX_REFUSALS: Final = 3
_REFUSAL_PERIOD: Final = timedelta(minutes=30)
#: Maximum of concurrent searches and sign-in attempts of all users: each opens up to twelve connections.
_MAX_CONCURRENT: Final = 4
#: Time-outs of a sign-in: short, because a user waits at the browser.
_TIMEOUTS: Final = Timeouts(session=timedelta(seconds=12), arrival=timedelta(seconds=3))
#: Time-out of a request to an OAuth provider.
_PROVIDER_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerChoice:
    """Server as a user has chosen it."""

    protocol: session.Protocol
    host: str
    port: int
    security: Security


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenServers:
    """The servers for sending and for reading."""

    smtp: ServerChoice | None
    #: IMAP or POP3.
    reading: ServerChoice | None

    @property
    def all(self) -> Sequence[ServerChoice]:
        """Return the chosen servers."""
        return [each for each in (self.smtp, self.reading) if each is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExaminedServer:
    """Discovered server, and the result of its examination."""

    candidate: ServerCandidate
    capabilities: ServerCapabilities


@dataclass(slots=True, kw_only=True)
class MailboxSetup:
    """Setup of a mailbox by one user, in progress."""

    #: Random key in the URLs of its pages.
    key: str
    agency: str
    #: The user.
    by: str
    #: The e-mail address.
    address: str
    started_at: datetime
    discovered: DiscoveredServers
    examined: Sequence[ExaminedServer]
    chosen: ChosenServers | None = None
    #: User name for the sign-in.
    username: str = ""
    #: The credential: only one of `password`, `consent` and `application` is set, the latest.
    password: str | None = field(default=None, repr=False)
    consent: Consent | None = field(default=None, repr=False)
    application: Application | None = None
    #: Key of the mailbox that the setup replaces; "": the mailbox is new.
    replaced_key: str = ""
    #: How the user gives the consent. It contains the settings of `login.oauth` without the secrets.
    procedure: ConsentProcedure | None = None
    #: While a consent is awaited by a device code (RFC 8628): the code that the page shows.
    device: DeviceCode | None = field(default=None, repr=False)
    #: While a consent is awaited by a redirect of the browser: the request to the provider.
    provider_request: AuthorizationRequest | None = field(default=None, repr=False)
    #: Why the last request for a consent failed; `None`: it did not fail.
    no_consent: NoConsentReason | None = None
    #: Results of the last sign-in, one per server that was tried.
    results: Sequence[SignInResult] = ()
    #: The mailbox of the last sign-in.
    mailbox: Mailbox | None = None

    @property
    def has_signed_in(self) -> bool:
        """Whether all chosen servers accepted the sign-in."""
        count = len(self.chosen.all) if self.chosen else 0
        return bool(count) and len(self.results) == count and all(each.is_accepted for each in self.results)

    @property
    def platform(self) -> MailPlatform | None:
        """The mail platform of the servers, if known."""
        hosts = [each.host for each in self.chosen.all] if self.chosen else []
        return next((found for each in hosts if (found := platform_of_server(each))), None) or self.discovered.platform


def typed_mailbox(setup: MailboxSetup, key: str) -> EnteredMailbox:
    """Return the mailbox of a setup in the form that is stored under *key*.

    Raise `SetupRejectedError` if a chosen server has not accepted the sign-in.
    """
    chosen = setup.chosen
    if chosen is None or not setup.has_signed_in:
        raise SetupRejectedError("works_not")
    oauth, tokens = _tokens(setup)
    return EnteredMailbox(
        key=key,
        address=setup.address,
        servers={
            str(each.protocol): {"host": each.host, "port": str(each.port), "security": str(each.security)}
            for each in chosen.all
        },
        username=setup.username,
        password=setup.password or "",
        oauth=oauth,
        tokens=tokens,
    )


def _tokens(setup: MailboxSetup) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the settings of `login.oauth`, and the secrets that they name; both empty for a password."""
    if setup.application is not None:
        return setup.application.oauth_settings, setup.application.secrets
    if setup.consent is None or setup.procedure is None:
        return {}, {}
    secrets = {
        "client_secret": setup.procedure.client.client_secret or "",
        "refresh_token": setup.consent.refresh_token,
    }
    return setup.procedure.oauth_settings, secrets


class SetupRejectedError(Exception):
    """Error for a rejected step. The message is a key of the portal's texts."""


class SetupSettings(Protocol):
    """The part of the current configuration that a setup uses."""

    def domains(self, agency: str) -> Collection[str]:
        """Return the registered domains of an agency. Raise `NotFoundError`."""

    def name_servers(self) -> NameServers | None:
        """Return the name servers; `None`: those of this machine."""

    def server(self, choice: ServerChoice) -> Server:
        """Return the server of a choice."""

    def consent(self, platform: MailPlatform, domain: str) -> ConsentProcedure | None:
        """Return the consent procedure for a mailbox of a domain; `None`: the settings have none for the platform."""

    def delegation_provider(self, application: Application) -> DelegationProvider:
        """Return where an application requests tokens."""


class MailboxSetups:
    """Pending setups of mailboxes. Raises `NotFoundError`, `SetupRejectedError` and `StoreUnavailable`."""

    def __init__(self, lifecycle: LifecycleRecorder, clock: Clock, settings: SetupSettings) -> None:
        """*lifecycle* writes the audit entries."""
        self._lifecycle = lifecycle
        self._clock = clock
        self._settings = settings
        #: By key, the oldest first.
        self._setups: dict[str, MailboxSetup] = {}
        #: By user: times of searches and attempts.
        self._attempt_times: dict[str, list[datetime]] = {}
        #: By server and user name: times of refusals.
        self._refusal_times: dict[tuple[str, str], list[datetime]] = {}
        self._semaphore = asyncio.Semaphore(_MAX_CONCURRENT)

    # -- servers ------------------------------------------------------------------------------------------------------

    async def begin(
        self, agency: str, address: str, *, by: str, client_address: str = "", replaced_key: str = ""
    ) -> MailboxSetup:
        """Discover the servers of an address, and examine each.

        *client_address*: for the audit log. *replaced_key*: the key of the mailbox that has the address now; "": none.
        """
        domain = domain_of(address)
        if not is_within(domain, self._settings.domains(agency)):
            raise SetupRejectedError("not_own_domain")
        self._count_attempt(by)
        detail = {"agency": agency, "mailbox": address, "address": client_address}
        await self._lifecycle.record(by, "mailbox servers looked for", detail)
        async with self._semaphore:
            discovered = await find_servers(domain, self._settings.name_servers())
            candidates = discovered.candidates
            capabilities = await query_servers(
                [(each.protocol, self._settings.server(_choice_of(each))) for each in candidates]
            )
        examined = [
            ExaminedServer(candidate=candidate, capabilities=each)
            for candidate, each in zip(candidates, capabilities, strict=True)
        ]
        setup = MailboxSetup(
            key=token_hex(16),
            agency=agency,
            by=by,
            address=address,
            started_at=self._clock.now(),
            discovered=discovered,
            examined=examined,
            username=address,
            replaced_key=replaced_key,
        )
        self._add_setup(setup)
        return setup

    def find(self, agency: str, key: str, *, by: str) -> MailboxSetup:
        """Return a setup of this user and agency. Raise `NotFoundError`, also for the setup of another user."""
        setup = self._unexpired().get(key)
        if setup is None or (setup.agency, setup.by) != (agency, by):
            raise NotFoundError.from_text("setup_gone")
        return setup

    def discard(self, setup: MailboxSetup) -> None:
        """Delete a setup with its typed data."""
        self._setups.pop(setup.key, None)

    # -- sign-in ------------------------------------------------------------------------------------------------------

    async def try_password(
        self, setup: MailboxSetup, chosen: ChosenServers, username: str, password: str, *, client_address: str = ""
    ) -> None:
        """Sign in with a password, once at each chosen server, until one refuses."""
        self._choose_servers(setup, chosen, username)
        await self._try_sign_in(setup, chosen, Password(username=username, secret=password), "password", client_address)
        setup.password, setup.consent, setup.application = password, None, None

    async def try_application(
        self,
        setup: MailboxSetup,
        chosen: ChosenServers,
        username: str,
        application: Application,
        *,
        client_address: str = "",
    ) -> None:
        """Sign in as an application that the mail administrator has authorised."""
        provider = self._settings.delegation_provider(application)
        self._require_provider_servers(chosen, provider.servers)
        self._choose_servers(setup, chosen, username)
        issuer = await asyncio.to_thread(application.issuer, provider, username)
        await self._try_sign_in(
            setup, chosen, OAuth(username=username, tokens=TokenCache(issuer)), "application", client_address
        )
        setup.password, setup.consent, setup.application = None, None, application

    async def request_consent(
        self, setup: MailboxSetup, chosen: ChosenServers, username: str, *, client_address: str = ""
    ) -> None:
        """Request a consent. Set `setup.device`, a code for the user, or `setup.provider_request`, for a redirect.

        After an error of the provider, set `setup.no_consent` instead.
        """
        self._choose_servers(setup, chosen, username)
        if (procedure := self.consent_procedure(setup)) is None:
            raise SetupRejectedError("no_consent_way")
        self._require_provider_servers(chosen, procedure.servers)
        self._count_attempt(setup.by)
        detail = {"agency": setup.agency, "mailbox": setup.address, "address": client_address}
        await self._lifecycle.record(setup.by, "mailbox consent asked for", detail)
        setup.procedure = procedure
        if not procedure.device_url:
            setup.provider_request = authorization_request(
                procedure.client, procedure.authorize_url, procedure.redirect_uri, setup.address
            )
            return
        try:
            async with asyncio.timeout(_PROVIDER_SECONDS):
                setup.device = await request_device_code(procedure.client, procedure.device_url, self._clock.now())
        except ConsentError as error:
            setup.no_consent = error.reason
        except TimeoutError:
            setup.no_consent = NoConsentReason.UNAVAILABLE

    def consent_procedure(self, setup: MailboxSetup) -> ConsentProcedure | None:
        """Return how a consent is given for this mailbox; `None`: its platform is unknown, or not configured."""
        platform = setup.platform
        return self._settings.consent(platform, domain_of(setup.address)) if platform else None

    async def check_consent(self, setup: MailboxSetup) -> None:
        """Poll the provider, at most once per interval, for the user's entry of the device code; after it, sign in."""
        device, procedure = setup.device, setup.procedure
        now = self._clock.now()
        if device is None or procedure is None or not (device.is_due(now) or now >= device.expires_at):
            return
        # Remove the code during the query, so that a concurrent request of the page sends no second query.
        setup.device = None
        outcome: Consent | DeviceCode = device
        try:
            async with asyncio.timeout(_PROVIDER_SECONDS):
                outcome = await poll_consent(procedure.client, device, now)
        except ConsentError as error:
            setup.no_consent = error.reason
            return
        except TimeoutError:
            pass
        finally:
            # Put the code back, unless the consent has been given or has failed, or the user has begun anew meanwhile.
            if isinstance(outcome, DeviceCode) and setup.no_consent is None and setup.procedure is procedure:
                setup.device = outcome
        if isinstance(outcome, Consent):
            await self._sign_in_with_consent(setup, outcome, procedure)

    async def handle_consent_callback(self, state: str, *, by: str, code: str, error: str) -> MailboxSetup:
        """Handle the OAuth callback: sign in with the consent.

        A callback is accepted once, and only from the user of the setup.

        *state*, *code* and *error*: the parameters of the callback (RFC 6749). Raise `NotFoundError`.
        """
        setup = next(
            (
                each
                for each in self._unexpired().values()
                if each.provider_request and each.provider_request.state == state
            ),
            None,
        )
        if setup is None or setup.by != by or setup.provider_request is None or setup.procedure is None:
            raise NotFoundError.from_text("consent_gone")
        request, procedure, setup.provider_request = setup.provider_request, setup.procedure, None
        try:
            if error or not code:
                raise consent_error(error)
            async with asyncio.timeout(_PROVIDER_SECONDS):
                consent = await exchange_code(procedure.client, code, request, procedure.redirect_uri)
        except ConsentError as consent_failure:
            setup.no_consent = consent_failure.reason
        except TimeoutError:
            setup.no_consent = NoConsentReason.UNAVAILABLE
        else:
            await self._sign_in_with_consent(setup, consent, procedure)
        return setup

    async def _sign_in_with_consent(self, setup: MailboxSetup, consent: Consent, procedure: ConsentProcedure) -> None:
        rotation = RefreshTokenStore(consent.refresh_token)
        tokens = TokenCache(RefreshTokenIssuer(procedure.client, rotation))
        if setup.chosen is None:
            raise ValueError("no servers were chosen")
        await self._try_sign_in(setup, setup.chosen, OAuth(username=setup.username, tokens=tokens), "consent", "")
        # If the provider accepts each refresh token only once, the sign-in has used up the first token.
        setup.consent = Consent(refresh_token=await rotation.current())
        setup.password, setup.application, setup.procedure = None, None, procedure

    async def _try_sign_in(
        self, setup: MailboxSetup, chosen: ChosenServers, login: Password | OAuth, method: str, client_address: str
    ) -> None:
        self._count_attempt(setup.by)
        if isinstance(login, Password):
            self._reserve_refusal(chosen, login.username)
        detail = {
            "agency": setup.agency,
            "mailbox": setup.address,
            "servers": ", ".join(f"{each.host}:{each.port}" for each in chosen.all),
            "way": method,
        }
        await self._lifecycle.record(
            setup.by, "mailbox tried", detail | ({"address": client_address} if client_address else {})
        )
        mailbox = self._mailbox(setup, chosen, login)
        async with self._semaphore:
            tried = await try_mailbox(mailbox, _TIMEOUTS)
        # Set all fields together, so that the setup never mixes the results of two concurrent requests.
        setup.chosen, setup.username = chosen, login.username
        setup.results, setup.mailbox = tried, mailbox
        if isinstance(login, Password):
            self._remove_unrefused(chosen, login.username, tried)

    def _mailbox(self, setup: MailboxSetup, chosen: ChosenServers, login: Password | OAuth) -> Mailbox:
        reading = chosen.reading
        server = self._settings.server(reading) if reading else None
        is_pop3 = reading is not None and reading.protocol is session.Protocol.POP3
        return Mailbox(
            name=f"{setup.agency}/{setup.address}",
            address=setup.address,
            login=login,
            smtp=self._settings.server(chosen.smtp) if chosen.smtp else None,
            imap=None if is_pop3 else server,
            pop3=server if is_pop3 else None,
        )

    @staticmethod
    def _require_provider_servers(chosen: ChosenServers, servers: Collection[str]) -> None:
        """Raise `SetupRejectedError` if a chosen server is not the provider's.

        A foreign server that receives a token could read the mailbox with it.
        """
        if not all(is_within(each.host, servers) for each in chosen.all):
            raise SetupRejectedError("not_its_servers")

    @staticmethod
    def _choose_servers(setup: MailboxSetup, chosen: ChosenServers, username: str) -> None:
        """Set the chosen servers and the user name; delete the login and the results of an earlier choice."""
        if not chosen.all:
            raise SetupRejectedError("no_server")
        setup.chosen, setup.username = chosen, username
        setup.password = setup.consent = setup.application = None
        setup.procedure = setup.device = setup.provider_request = setup.no_consent = None
        setup.results, setup.mailbox = (), None

    # -- limits -------------------------------------------------------------------------------------------------------

    def _count_attempt(self, by: str) -> None:
        now = self._clock.now()
        # Ignore a time in the future: it was taken before the clock was set back.
        times = [at for at in self._attempt_times.get(by, ()) if at <= now < at + _DAY]
        if len(times) >= MAX_PER_DAY or sum(now - at < _TEN_MINUTES for at in times) >= MAX_PER_TEN_MINUTES:
            raise SetupRejectedError("too_many")
        self._attempt_times[by] = [*times, now]

    def _reserve_refusal(self, chosen: ChosenServers, username: str) -> None:
        """Raise `SetupRejectedError` if one more refusal could lock an account. Otherwise count a refusal in advance.

        Counting in advance limits concurrent attempts. If the server does not refuse, `_remove_unrefused` removes the
        count.
        """
        now = self._clock.now()
        self._refusal_times = {
            key: recent
            for key, times in self._refusal_times.items()
            if (recent := [at for at in times if at <= now < at + _REFUSAL_PERIOD])
        }
        accounts = [(each.host.lower(), username.lower()) for each in chosen.all]
        if any(len(self._refusal_times.get(each, ())) >= MAX_REFUSALS for each in accounts):
            raise SetupRejectedError("too_many_refusals")
        for each in dict.fromkeys(accounts):
            self._refusal_times.setdefault(each, []).append(now)

    def _remove_unrefused(self, chosen: ChosenServers, username: str, tried: Sequence[SignInResult]) -> None:
        """Remove the counts of servers that have not refused the sign-in."""
        refused_hosts = {
            choice.host.lower()
            for choice, each in zip(chosen.all, tried, strict=False)
            if each.result.failure is not None and each.result.failure.credentials_refused
        }
        for host in {each.host.lower() for each in chosen.all} - refused_hosts:
            # The entry is missing if another attempt removed it as expired, after the clock was set.
            if times := self._refusal_times.get((host, username.lower())):
                times.pop()

    def _add_setup(self, setup: MailboxSetup) -> None:
        setups = self._unexpired()
        own_keys = [key for key, each in setups.items() if each.by == setup.by]
        for key in own_keys[: max(0, len(own_keys) - _MAX_SETUPS_PER_USER + 1)]:
            del setups[key]
        while len(setups) >= _MAX_SETUPS:
            del setups[next(iter(setups))]
        setups[setup.key] = setup

    def _unexpired(self) -> dict[str, MailboxSetup]:
        """Return the setups that have not expired."""
        oldest = self._clock.now() - LIFETIME
        for key in [key for key, each in self._setups.items() if each.started_at < oldest]:
            del self._setups[key]
        return self._setups


def _choice_of(candidate: ServerCandidate) -> ServerChoice:
    return ServerChoice(
        protocol=candidate.protocol, host=candidate.host, port=candidate.port, security=candidate.security
    )


@dataclass(frozen=True, slots=True)
class CurrentSetupSettings:
    """`SetupSettings` that reads the current configuration at each call."""

    configuration: Callable[[], Configuration]

    def domains(self, agency: str) -> Collection[str]:
        """Return the registered domains of an agency. Raise `NotFoundError`."""
        agencies = self.configuration().registry.agencies
        return agencies[find_agency_code(agency, agencies)].domains

    def name_servers(self) -> NameServers | None:
        """Return the name servers."""
        return self.configuration().settings.checks.build_name_servers()

    def server(self, choice: ServerChoice) -> Server:
        """Return the server of a choice, to which the egress policy for typed names applies."""
        return Server(
            host=choice.host,
            port=choice.port,
            security=choice.security,
            tls=Trust().context(None),
            egress=self.configuration().settings.egress,
        )

    def consent(self, platform: MailPlatform, domain: str) -> ConsentProcedure | None:
        """Return the consent procedure for a mailbox of a domain; `None`: the settings have none for the platform."""
        portal = self.configuration().settings.portal
        consents = portal.mailbox_consent if portal else None
        match platform:
            case MailPlatform.MICROSOFT if consents and consents.microsoft:
                return consents.microsoft.build(domain, Trust())
            case MailPlatform.GOOGLE if consents and consents.google and portal and portal.address:
                return consents.google.build(portal.address, Trust())
        return None

    def delegation_provider(self, application: Application) -> DelegationProvider:
        """Return where an application requests tokens, and the servers that receive them."""
        return build_delegation_provider(application, Trust())
