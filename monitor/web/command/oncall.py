"""Queries and commands about on-call staff.

No other responses of the service contain telephone numbers: every user of the control socket may call a colleague.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from fastapi import APIRouter
from pydantic import BaseModel

from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.oncall import Gap, Override
from monitor.config.fields.phone import printed
from monitor.service.oncall import OnCall, RotaView
from monitor.store.admin.duty import DutyRecords
from monitor.web.request import CommandRequest, Id


class AddressResponse(BaseModel):
    """Telephone number in dialling format."""

    channel: Channel
    number: str
    extension: str
    #: Whether this number is in use at that moment.
    answers: bool
    verified: date | None


class NextOnCallResponse(BaseModel):
    """Person who will be on call."""

    key: str
    name: str


class PersonResponse(BaseModel):
    """Person who is on call."""

    key: str
    name: str
    addresses: list[AddressResponse]


class RotaResponse(BaseModel):
    """A rota at one moment."""

    rota: str
    at: datetime
    person: PersonResponse | None
    overridden_by: str
    until: datetime | None
    next: NextOnCallResponse | None
    gaps: list[Gap]


class OverrideResponse(BaseModel):
    """An override in force."""

    id: int
    rota: str
    person: str
    name: str
    starts_at: datetime
    ends_at: datetime
    by: str


class ChangedOverrideResponse(OverrideResponse):
    """Override that was created or revoked, and the people whose duty it changes."""

    #: First the person who takes over, then the person who would be on call otherwise. Pantau does not notify them.
    tell: list[NextOnCallResponse]


class OverrideRequest(CommandRequest):
    """Override: person, rota, start, end, author."""

    rota: str
    person: str
    #: Empty: now.
    starts_at: str = ""
    ends_at: str


def duties(duty: OnCall) -> APIRouter:
    """Build the control router of on-call data."""
    router = APIRouter()

    @router.get("/on-call")
    async def on_call(agency: str = "", at: str = "") -> list[RotaResponse]:
        return [_duty(view) for view in await duty.show(agency, at)]

    @router.get("/on-call/records")
    async def records() -> DutyRecords:
        return await duty.records()

    @router.get("/overrides")
    async def overrides() -> list[OverrideResponse]:
        return [view_override(each) for each in await duty.overrides()]

    @router.post("/overrides")
    async def add(order: OverrideRequest) -> ChangedOverrideResponse:
        made = await duty.add(
            rota=order.rota, person=order.person, begins=order.starts_at, ends=order.ends_at, by=order.by
        )
        return view_change(made, await duty.concerned(made))

    @router.post("/overrides/{number}/remove")
    async def remove(number: Id, word: CommandRequest) -> ChangedOverrideResponse:
        gone = await duty.remove(number, word.by)
        return view_change(gone, await duty.concerned(gone))

    return router


def _duty(view: RotaView) -> RotaResponse:
    return RotaResponse(
        rota=view.rota,
        at=view.at,
        person=_person(view.person, view.at) if view.person else None,
        overridden_by=view.overridden_by,
        until=view.until,
        next=NextOnCallResponse(key=view.next.key, name=view.next.name) if view.next else None,
        gaps=list(view.gaps),
    )


def _person(person: Contact, at: datetime) -> PersonResponse:
    addresses = [_address(address, at) for address in person.addresses]
    return PersonResponse(key=person.key, name=person.name, addresses=addresses)


def _address(address: Address, at: datetime) -> AddressResponse:
    return AddressResponse(
        channel=address.channel,
        number=printed(address.number),
        # Without the pauses, which only an automatic dialler needs.
        extension=address.extension.strip("wW#"),
        answers=address.answers(at),
        verified=address.verified,
    )


def view_override(override: Override) -> OverrideResponse:
    """Return the view of an override."""
    return OverrideResponse(
        id=override.id,
        rota=override.rota,
        person=override.contact.key,
        name=override.contact.name,
        starts_at=override.starts_at,
        ends_at=override.ends_at,
        by=override.by,
    )


def view_change(override: Override, concerned: Sequence[Contact]) -> ChangedOverrideResponse:
    """Return the response for a created or revoked override."""
    tell = [NextOnCallResponse(key=each.key, name=each.name) for each in concerned]
    return ChangedOverrideResponse(**view_override(override).model_dump(), tell=tell)
