"""Queries and commands about on-call rotas and their overrides.

A rota says who is on call. An override puts another person on call for a time. Responses contain telephone numbers,
because every user of the control socket (the command line) may call colleagues. Responses of the portal's API
(`monitor.web.api.oncall`) contain no numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from fastapi import APIRouter
from pydantic import BaseModel

from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.oncall import Gap, Override
from monitor.config.fields.phone import format_printed
from monitor.service.oncall import OnCall, RotaView
from monitor.store.admin.duty import DutyRecords
from monitor.web.request import CommandRequest, Id


class AddressResponse(BaseModel):
    """Telephone number in dialling format."""

    channel: Channel
    number: str
    #: "" without an extension.
    extension: str
    #: Whether the number may be called at `RotaResponse.at`; false outside its office hours.
    answers: bool
    #: Date on which the number was last verified; `None`: never.
    verified: date | None


class NextOnCallResponse(BaseModel):
    """Person who will be on call."""

    #: Key of the contact in the configuration.
    key: str
    name: str


class PersonResponse(BaseModel):
    """Person who is on call."""

    key: str
    name: str
    addresses: list[AddressResponse]


class RotaResponse(BaseModel):
    """State of a rota at one moment."""

    #: Name of the rota: "JCM/bertugas" for one of an agency, "bertugas" for a shared one.
    rota: str
    at: datetime
    #: `None`: nobody is on call.
    person: PersonResponse | None
    #: Author of the override that puts this person on call; "" without an override.
    overridden_by: str
    #: When the person on call changes; `None`: not within three months.
    until: datetime | None
    #: Person on call after `until`; `None`: nobody.
    next: NextOnCallResponse | None
    #: Times without anybody on call, in the seven days from `at`.
    gaps: list[Gap]


class OverrideResponse(BaseModel):
    """An override in force."""

    id: int
    rota: str
    #: Key and name of the person whom the override puts on call.
    person: str
    name: str
    starts_at: datetime
    ends_at: datetime
    by: str


class ChangedOverrideResponse(OverrideResponse):
    """Override that was created or removed, and the people whose duty it changes."""

    #: People whom the author should inform, because Pantau does not: first the person whom the override puts on call,
    #: then the people who would be on call without it.
    tell: list[NextOnCallResponse]


class OverrideRequest(CommandRequest):
    """Override: person, rota, start, end, author."""

    rota: str
    person: str
    #: "": now.
    starts_at: str = ""
    ends_at: str


def on_call_commands(on_call_service: OnCall) -> APIRouter:
    """Build the router of on-call data on the control socket, which the command line uses."""
    router = APIRouter()

    @router.get("/on-call")
    async def on_call(agency: str = "", at: str = "") -> list[RotaResponse]:
        return [_rota_response(view) for view in await on_call_service.show(agency, at)]

    # The overrides and the telephone numbers that drills confirmed, for `pantau check`.
    @router.get("/on-call/records")
    async def records() -> DutyRecords:
        return await on_call_service.records()

    @router.get("/overrides")
    async def overrides() -> list[OverrideResponse]:
        return [view_override(each) for each in await on_call_service.overrides()]

    @router.post("/overrides")
    async def add(command: OverrideRequest) -> ChangedOverrideResponse:
        created = await on_call_service.add(
            rota=command.rota, person=command.person, begins=command.starts_at, ends=command.ends_at, by=command.by
        )
        return view_changed_override(created, await on_call_service.contacts_affected_by(created))

    # *number*: the override's ID. An error message shows this name to the user of the command line.
    @router.post("/overrides/{number}/remove")
    async def remove(number: Id, command: CommandRequest) -> ChangedOverrideResponse:
        removed = await on_call_service.remove(number, command.by)
        return view_changed_override(removed, await on_call_service.contacts_affected_by(removed))

    return router


def _rota_response(view: RotaView) -> RotaResponse:
    return RotaResponse(
        rota=view.rota,
        at=view.at,
        person=_person_response(view.person, view.at) if view.person else None,
        overridden_by=view.overridden_by,
        until=view.until,
        next=NextOnCallResponse(key=view.next.key, name=view.next.name) if view.next else None,
        gaps=list(view.gaps),
    )


def _person_response(person: Contact, at: datetime) -> PersonResponse:
    addresses = [_address_response(address, at) for address in person.addresses]
    return PersonResponse(key=person.key, name=person.name, addresses=addresses)


def _address_response(address: Address, at: datetime) -> AddressResponse:
    return AddressResponse(
        channel=address.channel,
        number=format_printed(address.number),
        # Drop the pauses (w, W) and the final #, which only an automatic dialler needs.
        extension=address.extension.strip("wW#"),
        answers=address.is_available(at),
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


def view_changed_override(override: Override, affected: Sequence[Contact]) -> ChangedOverrideResponse:
    """Return the response for a created or removed override. *affected*: the people whose duty it changes."""
    tell = [NextOnCallResponse(key=each.key, name=each.name) for each in affected]
    return ChangedOverrideResponse(**view_override(override).model_dump(), tell=tell)
