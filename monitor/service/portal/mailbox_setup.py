"""Guided setup of a mailbox: servers are discovered and examined, an officer chooses and signs in, and the login is tested before it is stored.

Typed data, including a password, stays in the memory of this process for half an hour, for its author only. Attempts
are counted per user: a page that connects to typed addresses could otherwise serve as a port scanner, and repeated
attempts with a password lock the account.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Final, Protocol

from alerts.persistence.clock import Clock
from monitor.audit.lifecycle import Lifecycle
from monitor.config.fields.circular import domain_of
from monitor.config.fields.trust import Trust
from monitor.config.loading import Configuration
from monitor.config.service.consent import ConsentWay
from monitor.probing.mailbox_sign_in import SignInResult, try_mailbox
from monitor.service.errors import NotFoundError, agency_called
from monitor.service.portal.delegation import Application, DelegationProvider, delegation_desk
from monitor.service.portal.typed_mailbox import EnteredMailbox
from probes.credentials.consent import (
    AuthorizationRequest,
    Consent,
    ConsentError,
    DeviceCode,
    NoConsentReason,
    ask_device_code,
    ask_for_consent,
    no_consent_of,
    redeem,
    way_out,
)
from probes.credentials.oauth import TokenCache
from probes.credentials.oauth_endpoint import RefreshToken, Rotation
from probes.model.check import NameServers
from probes.model.domain import is_within
from probes.model.mail_platform import MailPlatform
from probes.model.mailbox import Mailbox, OAuth, Password, Security, Server
from probes.model.probe import Timeouts
from probes.preauth import session
from probes.preauth.capabilities import ServerCapabilities, look
from probes.preauth.discovery import DiscoveredServers, ServerCandidate, find_servers, platform_at

#: Lifetime of a setup.
KEPT: Final = timedelta(minutes=30)
#: Limit for all users, and for one.
_MOST: Final = 300
_MOST_OF_ONE: Final = 5
#: For one user, searches and sign-in attempts together, within ten minutes and within a day.
IN_TEN_MINUTES: Final = 15
IN_A_DAY: Final = 100
_TEN_MINUTES: Final = timedelta(minutes=10)
_DAY: Final = timedelta(days=1)
#: Accounts are locked after three to ten refusals, which include those of users' own mail programs.
REFUSALS_AT_MOST: Final = 3
_REFUSALS_WITHIN: Final = timedelta(minutes=30)
#: Concurrent attempts of all users: each opens up to twelve connections.
_AT_ONCE: Final = 4
#: A user waits at the browser.
_PATIENCE: Final = Timeouts(session=timedelta(seconds=12), arrival=timedelta(seconds=3))
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
class SeenServer:
    """Server that was found, and its state."""

    candidate: ServerCandidate
    look: ServerCapabilities


@dataclass(slots=True, kw_only=True)
class MailboxSetup:
    """Mailbox that is being set up, for one user."""

    key: str
    agency: str
    by: str
    address: str
    begun_at: datetime
    found: DiscoveredServers
    seen: Sequence[SeenServer]
    chosen: ChosenServers | None = None
    username: str = ""
    #: The latest typed or consented credential; there is only one.
    password: str | None = field(default=None, repr=False)
    consent: Consent | None = field(default=None, repr=False)
    application: Application | None = None
    #: Key of the mailbox that it replaces; "": it is a new one.
    takes_over: str = ""
    #: Content of `login.oauth` besides its secrets.
    way: ConsentWay | None = None
    #: While the consent is awaited: by a device code, or in a browser.
    device: DeviceCode | None = field(default=None, repr=False)
    out: AuthorizationRequest | None = field(default=None, repr=False)
    no_consent: NoConsentReason | None = None
    #: Result of the sign-in attempts, and the mailbox that was used.
    tried: Sequence[SignInResult] = ()
    mailbox: Mailbox | None = None

    @property
    def works(self) -> bool:
        """Whether all chosen servers accepted the sign-in."""
        there = len(self.chosen.all) if self.chosen else 0
        return bool(there) and len(self.tried) == there and all(each.is_well for each in self.tried)

    @property
    def platform(self) -> MailPlatform | None:
        """The mail platform of the servers, if known."""
        hosts = [each.host for each in self.chosen.all] if self.chosen else []
        return next((found for each in hosts if (found := platform_at(each))), None) or self.found.platform


def typed_mailbox(setup: MailboxSetup, key: str) -> EnteredMailbox:
    """Return a working mailbox in the form in which it is stored, under *key*.

    Raise `SetupRejectedError`: it does not work.
    """
    chosen = setup.chosen
    if chosen is None or not setup.works:
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
    """Return the document's settings for tokens, and the secrets that belong to them."""
    if setup.application is not None:
        return setup.application.written, setup.application.secrets
    if setup.consent is None or setup.way is None:
        return {}, {}
    secrets = {"client_secret": setup.way.client.client_secret or "", "refresh_token": setup.consent.refresh_token}
    return setup.way.written, secrets


class SetupRejectedError(Exception):
    """The step is refused. The message is a key of the portal's words."""


class SetupSite(Protocol):
    """Interface to the current configuration."""

    def domains(self, agency: str) -> Collection[str]:
        """Return the registered domains of an agency. Raise `NotFoundError`."""

    def name_servers(self) -> NameServers | None:
        """Return the name servers; `None`: those of this machine."""

    def server(self, choice: ServerChoice) -> Server:
        """Return the server of a choice."""

    def consent(self, platform: MailPlatform, domain: str) -> ConsentWay | None:
        """Return the way of consent for a mailbox of a domain; `None`: there is none."""

    def desk(self, application: Application) -> DelegationProvider:
        """Return where an application requests tokens."""


class MailboxSetups:
    """Pending setups of mailboxes. Raises `NotFoundError`, `SetupRejectedError` and `StoreUnavailable`."""

    def __init__(self, lifecycle: Lifecycle, clock: Clock, site: SetupSite) -> None:
        """*lifecycle* writes the audit entries."""
        self._lifecycle = lifecycle
        self._clock = clock
        self._site = site
        #: By key, the oldest first.
        self._kept: dict[str, MailboxSetup] = {}
        #: By user: times of searches and attempts.
        self._deeds: dict[str, list[datetime]] = {}
        #: By server and user name: times of refusals.
        self._refusals: dict[tuple[str, str], list[datetime]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    # -- servers ------------------------------------------------------------------------------------------------------

    async def begin(
        self, agency: str, address: str, *, by: str, seen_from: str = "", takes_over: str = ""
    ) -> MailboxSetup:
        """Find the servers of an address and examine each.

        *takes_over*: the key of the mailbox that has the address already.
        """
        domain = domain_of(address)
        if not is_within(domain, self._site.domains(agency)):
            raise SetupRejectedError("not_own_domain")
        self._count(by)
        detail = {"agency": agency, "mailbox": address, "address": seen_from}
        await self._lifecycle.told(by, "mailbox servers looked for", detail)
        async with self._room:
            found = await find_servers(domain, self._site.name_servers())
            looks = await look([(each.protocol, self._site.server(_choice(each))) for each in found.candidates])
        seen = [SeenServer(candidate=each, look=one) for each, one in zip(found.candidates, looks, strict=True)]
        setup = MailboxSetup(
            key=token_hex(16),
            agency=agency,
            by=by,
            address=address,
            begun_at=self._clock.now(),
            found=found,
            seen=seen,
            username=address,
            takes_over=takes_over,
        )
        self._keep(setup)
        return setup

    def find(self, agency: str, key: str, *, by: str) -> MailboxSetup:
        """Return a user's setup. Raise `NotFoundError` for another user's."""
        setup = self._fresh().get(key)
        if setup is None or (setup.agency, setup.by) != (agency, by):
            raise NotFoundError.said("setup_gone")
        return setup

    def forget(self, setup: MailboxSetup) -> None:
        """Delete a setup with its typed data."""
        self._kept.pop(setup.key, None)

    # -- sign-in ------------------------------------------------------------------------------------------------------

    async def try_password(
        self, setup: MailboxSetup, chosen: ChosenServers, username: str, password: str, *, seen_from: str = ""
    ) -> None:
        """Sign in with a password, once at each server, up to the first refusal."""
        self._choose(setup, chosen, username)
        await self._try(setup, chosen, Password(username=username, secret=password), "password", seen_from)
        setup.password, setup.consent, setup.application = password, None, None

    async def try_application(
        self,
        setup: MailboxSetup,
        chosen: ChosenServers,
        username: str,
        application: Application,
        *,
        seen_from: str = "",
    ) -> None:
        """Sign in as an application that the mail administrator has authorised."""
        desk = self._site.desk(application)
        self._see_to_own(chosen, desk.servers)
        self._choose(setup, chosen, username)
        issuer = await asyncio.to_thread(application.issuer, desk, username)
        await self._try(setup, chosen, OAuth(username=username, tokens=TokenCache(issuer)), "application", seen_from)
        setup.password, setup.consent, setup.application = None, None, application

    async def ask_consent(
        self, setup: MailboxSetup, chosen: ChosenServers, username: str, *, seen_from: str = ""
    ) -> None:
        """Begin a consent: by a code that `setup.device` shows, or by `setup.out`."""
        self._choose(setup, chosen, username)
        if (way := self.consent_way(setup)) is None:
            raise SetupRejectedError("no_consent_way")
        self._see_to_own(chosen, way.servers)
        self._count(setup.by)
        detail = {"agency": setup.agency, "mailbox": setup.address, "address": seen_from}
        await self._lifecycle.told(setup.by, "mailbox consent asked for", detail)
        setup.way = way
        if not way.device_url:
            setup.out = way_out(way.client, way.authorize_url, way.redirect_uri, setup.address)
            return
        try:
            async with asyncio.timeout(_PROVIDER_SECONDS):
                setup.device = await ask_device_code(way.client, way.device_url, self._clock.now())
        except ConsentError as no:
            setup.no_consent = no.reason
        except TimeoutError:
            setup.no_consent = NoConsentReason.AWAY

    def consent_way(self, setup: MailboxSetup) -> ConsentWay | None:
        """Return the way of consent for this mailbox; `None`: there is none."""
        platform = setup.platform
        return self._site.consent(platform, domain_of(setup.address)) if platform else None

    async def look_for_consent(self, setup: MailboxSetup) -> None:
        """Query whether the code was entered, if the interval has passed; with the consent, sign in."""
        device, way = setup.device, setup.way
        now = self._clock.now()
        if device is None or way is None or not (device.is_due(now) or now >= device.until):
            return
        # Two concurrent requests of the page cause one query.
        setup.device = None
        answer: Consent | DeviceCode = device
        try:
            async with asyncio.timeout(_PROVIDER_SECONDS):
                answer = await ask_for_consent(way.client, device, now)
        except ConsentError as no:
            setup.no_consent = no.reason
            return
        except TimeoutError:
            pass
        finally:
            if isinstance(answer, DeviceCode) and setup.no_consent is None and setup.way is way:
                setup.device = answer
        if isinstance(answer, Consent):
            await self._consented(setup, answer, way)

    async def come_back(self, state: str, *, by: str, code: str, error: str) -> MailboxSetup:
        """Process the callback of a browser from the provider, once, and only for the user who was redirected."""
        setup = next((each for each in self._fresh().values() if each.out and each.out.state == state), None)
        if setup is None or setup.by != by or setup.out is None or setup.way is None:
            raise NotFoundError.said("consent_gone")
        out, way, setup.out = setup.out, setup.way, None
        try:
            if error or not code:
                raise no_consent_of(error)
            async with asyncio.timeout(_PROVIDER_SECONDS):
                consent = await redeem(way.client, code, out, way.redirect_uri)
        except ConsentError as no:
            setup.no_consent = no.reason
        except TimeoutError:
            setup.no_consent = NoConsentReason.AWAY
        else:
            await self._consented(setup, consent, way)
        return setup

    async def _consented(self, setup: MailboxSetup, consent: Consent, way: ConsentWay) -> None:
        rotation = Rotation(consent.refresh_token)
        tokens = TokenCache(RefreshToken(way.client, rotation))
        if setup.chosen is None:
            raise ValueError("no servers were chosen")
        await self._try(setup, setup.chosen, OAuth(username=setup.username, tokens=tokens), "consent", "")
        # If each token is valid once, the attempt has used the first.
        setup.consent = Consent(refresh_token=await rotation.current())
        setup.password, setup.application, setup.way = None, None, way

    async def _try(
        self, setup: MailboxSetup, chosen: ChosenServers, login: Password | OAuth, way: str, seen_from: str
    ) -> None:
        self._count(setup.by)
        if isinstance(login, Password):
            self._spare(chosen, login.username)
        detail = {
            "agency": setup.agency,
            "mailbox": setup.address,
            "servers": ", ".join(f"{each.host}:{each.port}" for each in chosen.all),
            "way": way,
        }
        await self._lifecycle.told(setup.by, "mailbox tried", detail | ({"address": seen_from} if seen_from else {}))
        mailbox = self._mailbox(setup, chosen, login)
        async with self._room:
            tried = await try_mailbox(mailbox, _PATIENCE)
        # Together, and last: of two concurrent forms the setup has the result of the later one, and no mixture.
        setup.chosen, setup.username = chosen, login.username
        setup.tried, setup.mailbox = tried, mailbox
        if isinstance(login, Password):
            self._forgive(chosen, login.username, tried)

    def _mailbox(self, setup: MailboxSetup, chosen: ChosenServers, login: Password | OAuth) -> Mailbox:
        reading = chosen.reading
        server = self._site.server(reading) if reading else None
        is_pop3 = reading is not None and reading.protocol is session.Protocol.POP3
        return Mailbox(
            name=f"{setup.agency}/{setup.address}",
            address=setup.address,
            login=login,
            smtp=self._site.server(chosen.smtp) if chosen.smtp else None,
            imap=None if is_pop3 else server,
            pop3=server if is_pop3 else None,
        )

    @staticmethod
    def _see_to_own(chosen: ChosenServers, servers: Collection[str]) -> None:
        """Raise `SetupRejectedError` if tokens would be sent to a server that is not their provider's: it could read the mailbox."""
        if not all(is_within(each.host, servers) for each in chosen.all):
            raise SetupRejectedError("not_its_servers")

    @staticmethod
    def _choose(setup: MailboxSetup, chosen: ChosenServers, username: str) -> None:
        if not chosen.all:
            raise SetupRejectedError("no_server")
        setup.chosen, setup.username = chosen, username
        setup.password = setup.consent = setup.application = None
        setup.way = setup.device = setup.out = setup.no_consent = None
        setup.tried, setup.mailbox = (), None

    # -- limits -------------------------------------------------------------------------------------------------------

    def _count(self, by: str) -> None:
        now = self._clock.now()
        # A time in the future is from before the clock was set back, and does not count.
        deeds = [at for at in self._deeds.get(by, ()) if at <= now < at + _DAY]
        if len(deeds) >= IN_A_DAY or sum(now - at < _TEN_MINUTES for at in deeds) >= IN_TEN_MINUTES:
            raise SetupRejectedError("too_many")
        self._deeds[by] = [*deeds, now]

    def _spare(self, chosen: ChosenServers, username: str) -> None:
        """Raise `SetupRejectedError` if one more refusal would lock an account.

        An attempt counts as a refusal until it has ended otherwise.
        """
        now = self._clock.now()
        self._refusals = {
            key: fresh
            for key, known in self._refusals.items()
            if (fresh := [at for at in known if at <= now < at + _REFUSALS_WITHIN])
        }
        accounts = [(each.host.lower(), username.lower()) for each in chosen.all]
        if any(len(self._refusals.get(each, ())) >= REFUSALS_AT_MOST for each in accounts):
            raise SetupRejectedError("too_many_refusals")
        for each in dict.fromkeys(accounts):
            self._refusals.setdefault(each, []).append(now)

    def _forgive(self, chosen: ChosenServers, username: str, tried: Sequence[SignInResult]) -> None:
        """Remove the attempts that were not refused."""
        refused = {
            choice.host.lower()
            for choice, each in zip(chosen.all, tried, strict=False)
            if each.result.failure is not None and each.result.failure.credentials_refused
        }
        for host in {each.host.lower() for each in chosen.all} - refused:
            # The entry is missing if the clock was set meanwhile and another attempt was made.
            if known := self._refusals.get((host, username.lower())):
                known.pop()

    def _keep(self, setup: MailboxSetup) -> None:
        kept = self._fresh()
        own = [key for key, each in kept.items() if each.by == setup.by]
        for key in own[: max(0, len(own) - _MOST_OF_ONE + 1)]:
            del kept[key]
        while len(kept) >= _MOST:
            del kept[next(iter(kept))]
        kept[setup.key] = setup

    def _fresh(self) -> dict[str, MailboxSetup]:
        """Return the setups that have not expired."""
        oldest = self._clock.now() - KEPT
        for key in [key for key, each in self._kept.items() if each.begun_at < oldest]:
            del self._kept[key]
        return self._kept


def _choice(candidate: ServerCandidate) -> ServerChoice:
    return ServerChoice(
        protocol=candidate.protocol, host=candidate.host, port=candidate.port, security=candidate.security
    )


@dataclass(frozen=True, slots=True)
class ConfiguredSite:
    """Implements `SetupSite` with the current configuration and the current trust store."""

    configuration: Callable[[], Configuration]

    def domains(self, agency: str) -> Collection[str]:
        """Return the registered domains of an agency. Raise `NotFoundError`."""
        agencies = self.configuration().registry.agencies
        return agencies[agency_called(agency, agencies)].domains

    def name_servers(self) -> NameServers | None:
        """Return the name servers."""
        return self.configuration().settings.checks.resolvers()

    def server(self, choice: ServerChoice) -> Server:
        """Return the server of a choice, within the bounds for typed names."""
        return Server(
            host=choice.host,
            port=choice.port,
            security=choice.security,
            tls=Trust().context(None),
            bounds=self.configuration().settings.bounds,
        )

    def consent(self, platform: MailPlatform, domain: str) -> ConsentWay | None:
        """Return the way of consent for a mailbox of a domain; `None`: there is none."""
        portal = self.configuration().settings.portal
        ways = portal.mailbox_consent if portal else None
        match platform:
            case MailPlatform.MICROSOFT if ways and ways.microsoft:
                return ways.microsoft.way(domain, Trust())
            case MailPlatform.GOOGLE if ways and ways.google and portal and portal.address:
                return ways.google.way(portal.address, Trust())
        return None

    def desk(self, application: Application) -> DelegationProvider:
        """Return where an application requests tokens, and the servers that receive them."""
        return delegation_desk(application, Trust())
