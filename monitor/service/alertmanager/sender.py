"""Sends our open incidents to the NOC's Alertmanagers as alerts.

Independent of the engine: what an Alertmanager does not accept is sent again.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn
from urllib.parse import urlsplit

import httpx
import structlog

from alerts.decide.silence import Muter, silence_over
from alerts.hours.elapsed import is_recent
from alerts.model.incident import Incident
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.config.model.alertmanager import SendSettings
from monitor.config.model.settings import Settings
from monitor.metrics import Metrics
from monitor.runtime.repeat import run_periodically
from monitor.store.engine.ledger import SqlStore
from monitor.views.outgoing import LASTS, alert_of, former_alert_of, is_told, labels_of

log = structlog.get_logger()

#: Alertmanager keeps alerts in memory only: after a restart it has none until they are sent again.
EVERY = timedelta(seconds=60)
#: Interval at which changes are looked for.
_LOOK = timedelta(seconds=5)
#: A resolved alert is sent for this long: one message may be lost, or come while a member is unavailable.
OVER_FOR = timedelta(minutes=15)
_DEADLINE_SECONDS = 10.0


class AlertSender:
    """Sends to each member of a cluster separately: they deduplicate among themselves."""

    def __init__(
        self,
        *,
        store: SqlStore,
        metrics: Metrics,
        clock: Clock,
        settings: Callable[[], Settings],
        muter: Muter = silence_over,
    ) -> None:
        """Take the current settings from *settings*; *muter* returns whether an incident is silenced."""
        self._store = store
        self._muter = muter
        self._metrics = metrics
        self._clock = clock
        self._settings = settings
        #: Open alerts by their labels, as last read.
        self._open: dict[frozenset[tuple[str, str]], Mapping[str, Any]] = {}
        #: Resolved alerts with their ends.
        self._over: dict[frozenset[tuple[str, str]], tuple[Mapping[str, Any], datetime]] = {}
        self._journal_number: int | None = None
        #: Whether any of them is silenced.
        self._has_silent = False
        self._told_at: datetime | None = None
        self._heard: dict[str, bool] = {}

    async def keep_telling(self) -> NoReturn:
        """Send repeatedly, until cancelled. Each alert expires after an hour."""
        # The transport and not the client, which logs addresses and reads proxies from the environment.
        async with httpx.AsyncHTTPTransport(
            trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        ) as transport:
            await run_periodically("Alertmanager sender", lambda: self.look(transport), _LOOK)

    async def look(self, transport: httpx.AsyncBaseTransport) -> None:
        """Send open and recently resolved alerts to all members, if they changed or were last sent a minute ago."""
        settings = self._settings()
        send = settings.alertmanager and settings.alertmanager.send
        if not send or not settings.notifies:
            self._forget(())
            self._journal_number = self._told_at = None
            return
        now = self._clock.now()
        is_news = await self._read(now)
        if not is_news and self._told_at is not None and timedelta(0) <= now - self._told_at < EVERY:
            return
        self._told_at = now
        self._forget(send.urls)
        body = json.dumps(self._alerts(now)).encode()
        await asyncio.gather(*(self._tell(transport, url, send, body) for url in send.urls))

    async def _read(self, now: datetime) -> bool:
        """Read the open incidents if anything has changed; return whether it has.

        While the database is unavailable the last result stays.
        """
        try:
            async with self._store.reading() as ledger:
                number = await ledger.journal_number()
                # The end of a silence causes no event, and a silence of a route depends on the routes in trouble.
                if number == self._journal_number and not self._has_silent:
                    return False
                found = list(await ledger.open_incidents())
                silences = await ledger.silences(now)
                # Incidents that ended while no process ran.
                ended = () if self._journal_number is not None else await ledger.recent_incidents()
        except StoreUnavailable:
            return False
        before, self._open = self._open, {}
        self._has_silent = False
        for incident in filter(is_told, found):
            silence = self._muter(incident, silences, now)
            self._has_silent |= silence is not None
            self._open[_key(incident)] = alert_of(incident, now, silence)
            # Sent by the previous process.
            if self._journal_number is None and (former := former_alert_of(incident, now)) is not None:
                self._over[frozenset(former["labels"].items())] = former, now
        for incident in ended:
            if (
                is_told(incident)
                and incident.resolved_at is not None
                and is_recent(incident.resolved_at, now, OVER_FOR)
            ):
                self._over[_key(incident)] = alert_of(incident, now), incident.resolved_at
        # Including what has become an outage, which is another alert.
        self._over |= {key: (alert, now) for key, alert in before.items() if key not in self._open}
        is_news = number != self._journal_number or _told(before) != _told(self._open)
        self._journal_number = number
        return is_news

    def _alerts(self, now: datetime) -> Sequence[Mapping[str, Any]]:
        self._over = {
            key: (alert, at)
            for key, (alert, at) in self._over.items()
            # Including ends in the future: the clock was set back.
            if key not in self._open and now - at < OVER_FOR
        }
        over = [_ended(alert, min(at, now)) for alert, at in self._over.values()]
        lasts = (now + LASTS).isoformat()
        return [*({**alert, "endsAt": lasts} for alert in self._open.values()), *over]

    async def _tell(self, transport: httpx.AsyncBaseTransport, url: str, send: SendSettings, body: bytes) -> None:
        member, why = urlsplit(url).netloc, await _post(transport, url, _authorization(send), body)
        if bool(why) is self._heard.get(member, True):
            # Neither the address nor the reason contains a secret.
            (log.warning if why else log.info)(
                "Alertmanager does not accept incidents" if why else "Alertmanager accepts incidents again",
                member=member,
                **({"reason": why} if why else {}),
            )
        self._heard[member] = not why
        self._metrics.alertmanager_notified(member, taken=not why)

    def _forget(self, but: Sequence[str]) -> None:
        """Remove the metrics of members that are no longer configured."""
        kept = {urlsplit(url).netloc for url in but}
        for member in self._heard.keys() - kept:
            del self._heard[member]
            self._metrics.forget_alertmanager(member)


def _key(incident: Incident) -> frozenset[tuple[str, str]]:
    return frozenset(labels_of(incident).items())


def _ended(alert: Mapping[str, Any], at: datetime) -> Mapping[str, Any]:
    # An alert that begins after its end is refused.
    began_at = min(datetime.fromisoformat(alert["startsAt"]), at)
    return {**alert, "startsAt": began_at.isoformat(), "endsAt": at.isoformat()}


def _told(alerts: Mapping[frozenset[tuple[str, str]], Mapping[str, Any]]) -> Mapping[frozenset[tuple[str, str]], Any]:
    """Return the alerts without fields that people do not read."""
    return {key: alert["annotations"] for key, alert in alerts.items()}


def _authorization(send: SendSettings) -> Mapping[str, str]:
    if send.token is not None:
        return {"Authorization": f"Bearer {send.token.get_secret_value()}"}
    if send.username is not None and send.password is not None:
        login = f"{send.username}:{send.password.get_secret_value()}".encode()
        return {"Authorization": f"Basic {b64encode(login).decode()}"}
    return {}


async def _post(transport: httpx.AsyncBaseTransport, url: str, headers: Mapping[str, str], body: bytes) -> str:
    """Send to one member; return the reason of a failure, or ""."""
    request = httpx.Request(
        "POST",
        f"{url}/api/v2/alerts",
        content=body,
        headers={"User-Agent": "pantau", "Content-Type": "application/json", **headers},
        extensions={"timeout": httpx.Timeout(_DEADLINE_SECONDS).as_dict()},
    )
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            answer = await transport.handle_async_request(request)
            await answer.aclose()
    except TimeoutError:
        return "no answer in time"
    except httpx.HTTPError as error:
        return type(error).__name__
    return "" if answer.is_success else f"answered {answer.status_code}"
