"""What the web parts need of the running service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol

from alerts.engine.settling import Ruling
from alerts.model.gateway import Answer, Content, Incoming
from alerts.model.incident import Incident
from monitor.config.files.problem import Problem
from monitor.service.noticeboard import Overview
from monitor.views.overview import AgencyView, CheckView, IncidentView, NoticeView
from monitor.views.own_health import PartView


class Source(Protocol):
    """The running service, as the web sees it."""

    async def overview(self) -> Overview:
        """Return how everything stands, also while the store is away. What has not changed is the same object."""

    def own_health(self) -> Sequence[PartView]:
        """Return how the service itself stands."""

    async def agencies(self) -> Sequence[AgencyView]:
        """Return all agencies, by code."""

    async def own_checks(self) -> Sequence[CheckView]:
        """Return what the checks found at our own reference mailboxes."""

    async def incidents(self) -> Sequence[IncidentView]:
        """Return the newest incidents, newest first."""

    async def notices(self) -> Sequence[NoticeView]:
        """Return the newest notices, newest first."""

    async def content(self, notice_id: int) -> tuple[NoticeView, Content] | None:
        """Return a notice and what it says; `None`: no such notice."""

    def metrics(self) -> Iterator[bytes]:
        """Return Prometheus' text format, a piece at a time. The first blocks for a while: fetch it in a thread."""

    def unready(self) -> str | None:
        """Return why the service cannot do all of its work (it starts, the store is away); `None`: it can."""

    async def reload(self, by: str) -> Sequence[Problem]:
        """Read the configuration again, by somebody's word. Return the problems; with errors among them the old one stays in force."""

    async def hear(self, gateway: str, incoming: Incoming) -> Answer | None:
        """Hand a provider's callback to its gateway; `None`: no such gateway. Raise `alerts.model.gateway.Refused`."""

    def callback_base(self, gateway: str) -> str | None:
        """Return the public URL that this gateway's provider was given."""

    def program(self, token: str) -> str | None:
        """Return the name of the program whose token this is; `None`: nobody's."""

    async def acknowledge(self, number: str, by: str) -> Incident | None:
        """Acknowledge an incident in a person's name; `None`: no such incident."""

    async def remark(self, number: str, by: str, text: str) -> Incident | None:
        """Write down what a person says about an incident; `None`: no such incident."""

    async def hand_on(self, number: str, by: str) -> Incident | None:
        """Let the next of the staff be told of an incident at once; `None`: no such incident."""

    async def release(self, number: str, by: str) -> Incident | None:
        """Release an incident's announcement; `None`: no such incident."""

    async def releases(self) -> Sequence[IncidentView]:
        """Return the outages whose announcements wait for a release that is offered, oldest first."""

    async def numbered(self, number: str) -> Incident | None:
        """Return the incident that people quote as *number*, or `None`."""

    async def correct(self, number: str, by: str, why: str) -> Incident | None:
        """Declare an incident a false alarm; `None`: no such incident."""

    async def settle(self, notice_id: int, ruling: Ruling, by: str, why: str) -> str | None:
        """Take in what a person says became of a notice; return what is wrong, or `None`."""

    def now(self) -> datetime:
        """Return the present moment."""
