"""The guided setup of a mailbox: servers are found and looked at, an officer chooses and signs in, and it is tried before it is kept.

What is typed meanwhile, a password among it, stays in the memory of this process for half an hour, for whoever typed it. It is
counted how much each of them tries: a page that connects to what is typed into it is a port scanner otherwise, and a password
that is tried again and again locks the account.
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
#: Of one person, searches and trials together, within ten minutes and within a day.
IN_TEN_MINUTES: Final = 15
IN_A_DAY: Final = 100
_TEN_MINUTES: Final = timedelta(minutes=10)
_DAY: Final = timedelta(days=1)
#: Accounts are locked after three to ten refusals, which include those of users' own mail programs.
REFUSALS_AT_MOST: Final = 3
_REFUSALS_WITHIN: Final = timedelta(minutes=30)
#: At a time, of all people: each is up to twelve connections.
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
    """Those that a mailbox is to be sent from and read at."""

    smtp: ServerChoice | None
    #: IMAP or POP3.
    reading: ServerChoice | None

    @property
    def all(self) -> Sequence[ServerChoice]:
        """Return those that there are."""
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
    #: What was typed, or consented to; of all there is only the latest one.
    password: str | None = field(default=None, repr=False)
    consent: Consent | None = field(default=None, repr=False)
    application: Application | None = None
    #: The short name of the mailbox that it takes the place of; "": it is a new one.
    takes_over: str = ""
    #: What `login.oauth` says beside its secrets.
    way: ConsentWay | None = None
    #: While a person is about to consent: by a code, or in a browser.
    device: DeviceCode | None = field(default=None, repr=False)
    out: AuthorizationRequest | None = field(default=None, repr=False)
    no_consent: NoConsentReason | None = None
    #: How it ended to sign in, and with which mailbox.
    tried: Sequence[SignInResult] = ()
    mailbox: Mailbox | None = None

    @property
    def works(self) -> bool:
        """Whether it was signed in at all servers that were chosen."""
        there = len(self.chosen.all) if self.chosen else 0
        return bool(there) and len(self.tried) == there and all(each.is_well for each in self.tried)

    @property
    def platform(self) -> MailPlatform | None:
        """Whose servers they are, as far as that is known."""
        hosts = [each.host for each in self.chosen.all] if self.chosen else []
        return next((found for each in hosts if (found := platform_at(each))), None) or self.found.platform


def typed_mailbox(setup: MailboxSetup, key: str) -> EnteredMailbox:
    """Return a mailbox that works as it is to be kept, under the short name *key*. Raise `SetupRejectedError`: it does not work."""
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
    """Return what a document says of how tokens are had, and with which secrets they are."""
    if setup.application is not None:
        return setup.application.written, setup.application.secrets
    if setup.consent is None or setup.way is None:
        return {}, {}
    secrets = {"client_secret": setup.way.client.client_secret or "", "refresh_token": setup.consent.refresh_token}
    return setup.way.written, secrets


class SetupRejectedError(Exception):
    """It is not done. The message is a key of the portal's words."""


class SetupSite(Protocol):
    """What the configuration in force says that a setup goes by."""

    def domains(self, agency: str) -> Collection[str]:
        """Return the registered domains of an agency. Raise `NotFoundError`."""

    def name_servers(self) -> NameServers | None:
        """Return whom to ask for names; `None`: those of this machine."""

    def server(self, choice: ServerChoice) -> Server:
        """Return a server as it is met."""

    def consent(self, platform: MailPlatform, domain: str) -> ConsentWay | None:
        """Return how a person consents for a mailbox of a domain; `None`: there is no such way here."""

    def desk(self, application: Application) -> DelegationProvider:
        """Return where an application asks for tokens."""


class MailboxSetups:
    """Sets mailboxes up, and remembers what people have come to. Raises `NotFoundError`, `SetupRejectedError` and `StoreUnavailable`."""

    def __init__(self, lifecycle: Lifecycle, clock: Clock, site: SetupSite) -> None:
        """*lifecycle* writes down who has tried what."""
        self._lifecycle = lifecycle
        self._clock = clock
        self._site = site
        #: By key, the oldest first.
        self._kept: dict[str, MailboxSetup] = {}
        #: By person: when they searched or tried.
        self._deeds: dict[str, list[datetime]] = {}
        #: By server and user name: when it was refused.
        self._refusals: dict[tuple[str, str], list[datetime]] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    # -- servers ------------------------------------------------------------------------------------------------------

    async def begin(
        self, agency: str, address: str, *, by: str, seen_from: str = "", takes_over: str = ""
    ) -> MailboxSetup:
        """Find the servers of an address and look at each. *takes_over*: the short name of the mailbox that has it already."""
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
        """Return what somebody has begun. Another's is not there."""
        setup = self._fresh().get(key)
        if setup is None or (setup.agency, setup.by) != (agency, by):
            raise NotFoundError.said("setup_gone")
        return setup

    def forget(self, setup: MailboxSetup) -> None:
        """Let go of a setup, and of what was typed."""
        self._kept.pop(setup.key, None)

    # -- signing in ---------------------------------------------------------------------------------------------------

    async def try_password(
        self, setup: MailboxSetup, chosen: ChosenServers, username: str, password: str, *, seen_from: str = ""
    ) -> None:
        """Sign in with a password, once at each server and no further than the first refusal."""
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
        """Sign in as an application that the mail's administrator has let in."""
        desk = self._site.desk(application)
        self._see_to_own(chosen, desk.servers)
        self._choose(setup, chosen, username)
        issuer = await asyncio.to_thread(application.issuer, desk, username)
        await self._try(setup, chosen, OAuth(username=username, tokens=TokenCache(issuer)), "application", seen_from)
        setup.password, setup.consent, setup.application = None, None, application

    async def ask_consent(
        self, setup: MailboxSetup, chosen: ChosenServers, username: str, *, seen_from: str = ""
    ) -> None:
        """Have a person asked for their consent: by a code that `setup.device` shows, or by `setup.out`."""
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
        """Return how a person may consent for this mailbox; `None`: there is no such way here."""
        platform = setup.platform
        return self._site.consent(platform, domain_of(setup.address)) if platform else None

    async def look_for_consent(self, setup: MailboxSetup) -> None:
        """Ask whether the code was typed, if it is time to; with the consent, sign in."""
        device, way = setup.device, setup.way
        now = self._clock.now()
        if device is None or way is None or not (device.is_due(now) or now >= device.until):
            return
        # Whoever loads the page twice at once asks once.
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
        """Take in a browser that comes back from the provider, once, and only that of who went there."""
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
        # Where each is taken only once, the trial has spent the first.
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
        # Together, and last: whoever sends two forms at once has what the later one has tried, and not something of both.
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
        """Raise `SetupRejectedError` where tokens would be shown to a server that is not their provider's: it would have the mailbox."""
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

    # -- how much -----------------------------------------------------------------------------------------------------

    def _count(self, by: str) -> None:
        now = self._clock.now()
        # What is in the future was done before the clock was put back, and nobody waits for that to come again.
        deeds = [at for at in self._deeds.get(by, ()) if at <= now < at + _DAY]
        if len(deeds) >= IN_A_DAY or sum(now - at < _TEN_MINUTES for at in deeds) >= IN_TEN_MINUTES:
            raise SetupRejectedError("too_many")
        self._deeds[by] = [*deeds, now]

    def _spare(self, chosen: ChosenServers, username: str) -> None:
        """Raise `SetupRejectedError` if an account would be locked by one refusal more. A trial is a refusal until it has ended otherwise."""
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
        """Take back what was no refusal."""
        refused = {
            choice.host.lower()
            for choice, each in zip(chosen.all, tried, strict=False)
            if each.result.failure is not None and each.result.failure.credentials_refused
        }
        for host in {each.host.lower() for each in chosen.all} - refused:
            # It is gone where the clock was moved meanwhile, and somebody else has tried.
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
        """Return those that are kept, without those of which the time is over."""
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
    """Implements `SetupSite` by the configuration in force, and by what the system trusts at that moment."""

    configuration: Callable[[], Configuration]

    def domains(self, agency: str) -> Collection[str]:
        """Return the registered domains of an agency. Raise `NotFoundError`."""
        agencies = self.configuration().registry.agencies
        return agencies[agency_called(agency, agencies)].domains

    def name_servers(self) -> NameServers | None:
        """Return whom to ask for names."""
        return self.configuration().settings.checks.resolvers()

    def server(self, choice: ServerChoice) -> Server:
        """Return a server as it is met: within the bounds of what people name."""
        return Server(
            host=choice.host,
            port=choice.port,
            security=choice.security,
            tls=Trust().context(None),
            bounds=self.configuration().settings.bounds,
        )

    def consent(self, platform: MailPlatform, domain: str) -> ConsentWay | None:
        """Return how a person consents for a mailbox of a domain; `None`: there is no such way here."""
        portal = self.configuration().settings.portal
        ways = portal.mailbox_consent if portal else None
        match platform:
            case MailPlatform.MICROSOFT if ways and ways.microsoft:
                return ways.microsoft.way(domain, Trust())
            case MailPlatform.GOOGLE if ways and ways.google and portal and portal.address:
                return ways.google.way(portal.address, Trust())
        return None

    def desk(self, application: Application) -> DelegationProvider:
        """Return where an application asks for tokens, and the servers that are shown those."""
        return delegation_desk(application, Trust())
