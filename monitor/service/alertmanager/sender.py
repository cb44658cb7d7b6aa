"""Sender of open incidents to the NOC's Alertmanagers, as alerts.

It reads the incidents from the database, and not from the engine that notifies people, so that neither delays the
other. It sends all alerts again each minute, even if an Alertmanager has accepted them.
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

from alerts.decide.silence import SilenceLookup, active_silence
from alerts.hours.elapsed import is_recent
from alerts.model.incident import Incident
from alerts.persistence.clock import Clock
from alerts.persistence.store import StoreUnavailable
from monitor.config.model.alertmanager import SendSettings
from monitor.config.model.settings import Settings
from monitor.metrics import Metrics
from monitor.runtime.repeat import run_periodically
from monitor.store.engine.unit_of_work import SqlStore
from monitor.views.outgoing import ALERT_LIFETIME, alert_labels, build_alert, former_alert, is_sent

log = structlog.get_logger()

#: Interval of sending unchanged alerts: Alertmanager keeps alerts in memory only, and loses them at a restart.
RESEND_INTERVAL = timedelta(seconds=60)
#: Interval of checks for changed incidents.
_CHECK_INTERVAL = timedelta(seconds=5)
#: A resolved alert is sent for this long, because a member of the cluster may be unavailable for some time.
RESOLVED_RESEND_PERIOD = timedelta(minutes=15)
#: Time-out of a request.
_DEADLINE_SECONDS = 10.0


class AlertSender:
    """Sender to each member of an Alertmanager cluster. The members deduplicate alerts among themselves."""

    def __init__(
        self,
        *,
        store: SqlStore,
        metrics: Metrics,
        clock: Clock,
        settings: Callable[[], Settings],
        silence_lookup: SilenceLookup = active_silence,
    ) -> None:
        """Take *settings*, which returns the current settings.

        *silence_lookup* returns the silence of an incident, a period in which nobody is notified of it.
        """
        self._store = store
        self._silence_lookup = silence_lookup
        self._metrics = metrics
        self._clock = clock
        self._settings = settings
        #: Alerts of open incidents, as last read, by their labels.
        self._open: dict[frozenset[tuple[str, str]], Mapping[str, Any]] = {}
        #: Resolved alerts with their end times, by their labels.
        self._resolved: dict[frozenset[tuple[str, str]], tuple[Mapping[str, Any], datetime]] = {}
        #: Number of the newest audit log entry at the last read; `None`: nothing was read yet.
        self._last_entry: int | None = None
        #: Whether any open incident is silenced.
        self._has_silenced = False
        #: When alerts were last sent; `None`: not since the start, or since sending was disabled.
        self._sent_at: datetime | None = None
        #: Whether the last request succeeded, by the member's host and port.
        self._accepts_by_member: dict[str, bool] = {}

    async def run(self) -> NoReturn:
        """Send repeatedly, until cancelled."""
        # A bare transport, because an httpx client logs URLs and takes proxies from the environment.
        async with httpx.AsyncHTTPTransport(
            trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        ) as transport:
            await run_periodically("Alertmanager sender", lambda: self.send_if_due(transport), _CHECK_INTERVAL)

    async def send_if_due(self, transport: httpx.AsyncBaseTransport) -> None:
        """Send open and recently resolved alerts to all members if they have changed or a minute has passed."""
        settings = self._settings()
        send = settings.alertmanager and settings.alertmanager.send
        # In monitor-only mode, no alerts are sent.
        if not send or not settings.notifies:
            self._forget_members(())
            self._last_entry = self._sent_at = None
            return
        now = self._clock.now()
        has_changed = await self._read_incidents(now)
        if not has_changed and self._sent_at is not None and timedelta(0) <= now - self._sent_at < RESEND_INTERVAL:
            return
        self._sent_at = now
        self._forget_members(send.urls)
        body = json.dumps(self._alerts(now)).encode()
        await asyncio.gather(*(self._send_to(transport, url, send, body) for url in send.urls))

    async def _read_incidents(self, now: datetime) -> bool:
        """Read the open incidents if the audit log has grown; return whether the alerts have changed.

        While the database is unavailable, keep the last result.
        """
        try:
            async with self._store.reading() as uow:
                last_entry = await uow.last_audit_number()
                # If an incident is silenced, read each time: a silence ends without an audit entry, and a silence of
                # one probe route (mail from one mailbox to another) applies only while no other route fails.
                if last_entry == self._last_entry and not self._has_silenced:
                    return False
                incidents = list(await uow.open_incidents())
                silences = await uow.silences(now)
                # At the start, include incidents that were resolved while no process ran.
                ended = () if self._last_entry is not None else await uow.recent_incidents()
        except StoreUnavailable:
            return False
        previous, self._open = self._open, {}
        self._has_silenced = False
        for incident in filter(is_sent, incidents):
            silence = self._silence_lookup(incident, silences, now)
            self._has_silenced |= silence is not None
            self._open[_key(incident)] = build_alert(incident, now, silence)
            # At the start, an open outage may have been sent as a degradation before: resolve the alert of the
            # degradation, which has other labels.
            if self._last_entry is None and (former := former_alert(incident, now)) is not None:
                self._resolved[frozenset(former["labels"].items())] = former, now
        for incident in ended:
            if (
                is_sent(incident)
                and incident.resolved_at is not None
                and is_recent(incident.resolved_at, now, RESOLVED_RESEND_PERIOD)
            ):
                self._resolved[_key(incident)] = build_alert(incident, now), incident.resolved_at
        # An incident with changed labels (it became an outage) is another alert: resolve the old alert.
        self._resolved |= {key: (alert, now) for key, alert in previous.items() if key not in self._open}
        has_changed = last_entry != self._last_entry or _visible_parts(previous) != _visible_parts(self._open)
        self._last_entry = last_entry
        return has_changed

    def _alerts(self, now: datetime) -> Sequence[Mapping[str, Any]]:
        self._resolved = {
            key: (alert, ended_at)
            for key, (alert, ended_at) in self._resolved.items()
            # An end in the future counts as recent: the clock was set back.
            if key not in self._open and now - ended_at < RESOLVED_RESEND_PERIOD
        }
        resolved = [_ended(alert, min(ended_at, now)) for alert, ended_at in self._resolved.values()]
        ends_at = (now + ALERT_LIFETIME).isoformat()
        return [*({**alert, "endsAt": ends_at} for alert in self._open.values()), *resolved]

    async def _send_to(self, transport: httpx.AsyncBaseTransport, url: str, send: SendSettings, body: bytes) -> None:
        member, reason = urlsplit(url).netloc, await _post(transport, url, _authorization(send), body)
        if bool(reason) is self._accepts_by_member.get(member, True):
            # Log only a change; log only the host and port, because a URL may contain a secret.
            (log.warning if reason else log.info)(
                "Alertmanager does not accept incidents" if reason else "Alertmanager accepts incidents again",
                member=member,
                **({"reason": reason} if reason else {}),
            )
        self._accepts_by_member[member] = not reason
        self._metrics.set_alertmanager_up(member, accepted=not reason)

    def _forget_members(self, urls: Sequence[str]) -> None:
        """Remove the metrics of members that are no longer configured."""
        members = {urlsplit(url).netloc for url in urls}
        for member in self._accepts_by_member.keys() - members:
            del self._accepts_by_member[member]
            self._metrics.remove_alertmanager(member)


def _key(incident: Incident) -> frozenset[tuple[str, str]]:
    return frozenset(alert_labels(incident).items())


def _ended(alert: Mapping[str, Any], ended_at: datetime) -> Mapping[str, Any]:
    # Alertmanager rejects an alert that starts after its end.
    began_at = min(datetime.fromisoformat(alert["startsAt"]), ended_at)
    return {**alert, "startsAt": began_at.isoformat(), "endsAt": ended_at.isoformat()}


def _visible_parts(
    alerts: Mapping[frozenset[tuple[str, str]], Mapping[str, Any]],
) -> Mapping[frozenset[tuple[str, str]], Any]:
    """Return the parts of the alerts that people read. They exclude times, which change at each read."""
    return {key: alert["annotations"] for key, alert in alerts.items()}


def _authorization(send: SendSettings) -> Mapping[str, str]:
    if send.token is not None:
        return {"Authorization": f"Bearer {send.token.get_secret_value()}"}
    if send.username is not None and send.password is not None:
        login = f"{send.username}:{send.password.get_secret_value()}".encode()
        return {"Authorization": f"Basic {b64encode(login).decode()}"}
    return {}


async def _post(transport: httpx.AsyncBaseTransport, url: str, headers: Mapping[str, str], body: bytes) -> str:
    """Send alerts to one member; return the reason of a failure, or ""."""
    request = httpx.Request(
        "POST",
        f"{url}/api/v2/alerts",
        content=body,
        headers={"User-Agent": "pantau", "Content-Type": "application/json", **headers},
        extensions={"timeout": httpx.Timeout(_DEADLINE_SECONDS).as_dict()},
    )
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            response = await transport.handle_async_request(request)
            await response.aclose()
    except TimeoutError:
        return "no answer in time"
    except httpx.HTTPError as error:
        return type(error).__name__
    return "" if response.is_success else f"answered {response.status_code}"
