"""The guided way to a new mailbox: its address, the servers that were found, a way of signing in, and how that ended.

It works without a script: while a code waits to be typed at Microsoft, the page is loaded anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment
from pydantic import TypeAdapter, ValidationError

from monitor.access.role import Permission
from monitor.access.visitor import Visitor
from monitor.advice.obstacle import Obstacle, obstacle_of, plain_obstacle
from monitor.config.agency.mailbox import ServerSettings
from monitor.config.files.section import MailAddress
from monitor.config.service.consent import CONSENT_PATH
from monitor.probing.attempt import SENDING, SideTried
from monitor.service.portal.mailbox_setup import (
    ChosenServers,
    MailboxSetup,
    MailboxSetups,
    SeenServer,
    ServerChoice,
    SetupRefused,
)
from monitor.web.access.gate import Needs, agency_in_path, permit
from monitor.web.access.sign_in import from_where
from monitor.web.ask import asked, remember
from monitor.web.form import MAY_SEND_FORMS, form_of
from monitor.web.page import Tongue
from probes.model.mailbox import Mailbox, Security
from probes.model.result import Phase
from probes.stranger.session import Protocol

_Officer = Annotated[Visitor, Depends(Needs(Permission.EDIT_AGENCY, agency_in_path))]
#: Of any agency: whose it is stands in what was begun.
_Returning = Annotated[Visitor, Depends(Needs(Permission.EDIT_AGENCY))]
#: What stands in a form where a server is typed by hand, and where there is to be none.
_BY_HAND: Final = "hand"
_NONE: Final = "none"
#: Of a name or a password, in characters.
_LONGEST: Final = 500
_USUAL_PORTS: Final = {
    (Protocol.SMTP, Security.IMPLICIT): 465,
    (Protocol.SMTP, Security.STARTTLS): 587,
    (Protocol.IMAP, Security.IMPLICIT): 993,
    (Protocol.IMAP, Security.STARTTLS): 143,
    (Protocol.POP3, Security.IMPLICIT): 995,
    (Protocol.POP3, Security.STARTTLS): 110,
}


class _BadChoice(Exception):
    """Something was typed that is no server, or nothing. The message is a key of the page's words."""


def mailbox_setup_pages(setups: MailboxSetups, templates: Mapping[Tongue, Environment]) -> APIRouter:
    """Build the pages."""
    router = APIRouter(include_in_schema=False)

    @router.get("/agencies/{code}/mailboxes/new")
    async def start(request: Request, code: str, visitor: _Officer) -> Response:
        return remember(request, shown(request, "mailbox_new.html", visitor, code=code.upper(), address=""))

    @router.post("/agencies/{code}/mailboxes/new")
    async def search(request: Request, code: str, visitor: _Officer) -> Response:
        agency, written = code.upper(), (await form_of(request)).get("address", "").strip()
        try:
            address = str(TypeAdapter(MailAddress).validate_python(written))
            setup = await setups.begin(agency, address, by=visitor.by, seen_from=from_where(request))
        except (ValidationError, SetupRefused) as wrong:
            problem = str(wrong) if isinstance(wrong, SetupRefused) else "no_address"
            facts = {"code": agency, "address": written[:_LONGEST], "problem": problem}
            return shown(request, "mailbox_new.html", visitor, status=422, **facts)
        return RedirectResponse(f"/agencies/{agency}/mailboxes/new/{setup.key}", status_code=303)

    @router.get("/agencies/{code}/mailboxes/new/{key}")
    async def look(request: Request, code: str, key: str, visitor: _Officer) -> Response:
        setup = setups.find(code.upper(), key, by=visitor.by)
        problem = ""
        try:
            await setups.look_for_consent(setup)
        except SetupRefused as refused:
            problem = str(refused)
        return remember(request, page(request, visitor, setup, problem=problem))

    @router.post("/agencies/{code}/mailboxes/new/{key}")
    async def go_on(request: Request, code: str, key: str, visitor: _Officer) -> Response:
        setup = setups.find(code.upper(), key, by=visitor.by)
        fields, place = await form_of(request), from_where(request)
        username = fields.get("username", "").strip()[:_LONGEST] or setup.address
        try:
            chosen = _chosen(setup, fields)
            if fields.get("way") == "consent":
                await setups.ask_consent(setup, chosen, username, seen_from=place)
            else:
                password = _password(fields.get("password", ""))
                await setups.try_password(setup, chosen, username, password, seen_from=place)
        except (_BadChoice, SetupRefused) as wrong:
            return page(request, visitor, setup, problem=str(wrong), typed=fields, status=422)
        return RedirectResponse(f"/agencies/{setup.agency}/mailboxes/new/{setup.key}", status_code=303)

    @router.get(CONSENT_PATH)
    async def come_back(request: Request, visitor: _Returning) -> Response:
        told = request.query_params
        setup = await setups.come_back(
            told.get("state", ""), by=visitor.by, code=told.get("code", ""), error=told.get("error", "")[:100]
        )
        permit(visitor, Permission.EDIT_AGENCY, setup.agency)
        return RedirectResponse(f"/agencies/{setup.agency}/mailboxes/new/{setup.key}", status_code=303)

    def page(
        request: Request,
        visitor: Visitor,
        setup: MailboxSetup,
        *,
        problem: str = "",
        typed: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        facts = {**_seen(setup, typed or {}), "problem": problem, "consents": setups.consent_way(setup)}
        return shown(request, "mailbox_setup.html", visitor, status=status, **facts)

    def shown(request: Request, template: str, visitor: Visitor, *, status: int = 200, **facts: object) -> Response:
        text = templates[asked(request).tongue].get_template(template)
        common = {"visitor": visitor, "path": request.url.path, "problem": ""}
        return HTMLResponse(text.render({**common, **facts}), status_code=status, headers=MAY_SEND_FORMS)

    return router


# -- what was typed ------------------------------------------------------------------------------------------------------


def _password(text: str) -> str:
    """Return a password as it is. Raise `_BadChoice`, before a sign-in is spent on it, for what can be none."""
    if not text.strip():
        raise _BadChoice("no_password")
    if text != text.strip() or not text.isprintable() or len(text) > _LONGEST:
        raise _BadChoice("bad_password")
    return text


def _chosen(setup: MailboxSetup, fields: Mapping[str, str]) -> ChosenServers:
    smtp = _one(fields, "smtp", _offered(setup, Protocol.SMTP), Protocol.SMTP)
    protocol = Protocol.POP3 if fields.get("reading_protocol") == Protocol.POP3 else Protocol.IMAP
    reading = _one(fields, "reading", _offered(setup, Protocol.IMAP, Protocol.POP3), protocol)
    if smtp is None and reading is None:
        raise _BadChoice("no_server")
    return ChosenServers(smtp=smtp, reading=reading)


def _one(
    fields: Mapping[str, str], name: str, offered: Sequence[SeenServer], protocol: Protocol
) -> ServerChoice | None:
    wanted = fields.get(name, "")
    if wanted == _NONE:
        return None
    if wanted == _BY_HAND:
        return _by_hand(fields, name, protocol)
    if not wanted.isdecimal() or len(wanted) > 2 or int(wanted) >= len(offered):
        raise _BadChoice("not_chosen")
    found = offered[int(wanted)].candidate
    return ServerChoice(protocol=found.protocol, host=found.host, port=found.port, security=found.security)


def _by_hand(fields: Mapping[str, str], name: str, protocol: Protocol) -> ServerChoice:
    written = {key: fields.get(f"{name}_{key}", "").strip() for key in ("host", "port", "security")}
    try:
        # By the same checks as what stands in a document.
        server = ServerSettings.model_validate(
            {key: value for key, value in written.items() if value and not (key == "port" and value.isdecimal())}
            | ({"port": int(written["port"])} if written["port"].isdecimal() and len(written["port"]) < 6 else {})
        )
    except ValidationError:
        raise _BadChoice("bad_server") from None
    port = server.port or _USUAL_PORTS[protocol, server.security]
    return ServerChoice(protocol=protocol, host=server.host.lower(), port=port, security=server.security)


# -- what is shown -------------------------------------------------------------------------------------------------------


def _offered(setup: MailboxSetup, *protocols: Protocol) -> Sequence[SeenServer]:
    """Return what was found for a side: those that can be signed in to before the others."""
    found = [each for each in setup.seen if each.candidate.protocol in protocols]
    return sorted(found, key=lambda each: not each.look.is_usable)


def _seen(setup: MailboxSetup, typed: Mapping[str, str]) -> dict[str, Any]:
    platform = setup.platform
    sides = [
        _side("smtp", _offered(setup, Protocol.SMTP), setup.chosen.smtp if setup.chosen else None, typed),
        _side(
            "reading",
            _offered(setup, Protocol.IMAP, Protocol.POP3),
            setup.chosen.reading if setup.chosen else None,
            typed,
        ),
    ]
    chosen, mailbox = setup.chosen, setup.mailbox
    tried = [_tried(each, mailbox, chosen) for each in setup.tried] if mailbox and chosen else []
    return {
        "code": setup.agency,
        "setup": setup,
        "sides": sides,
        "is_bare": not setup.seen,
        "platform": platform,
        "securities": list(Security),
        "typed": typed,
        "username": typed.get("username") or setup.username,
        "tried": tried,
        "untried": len(chosen.all) - len(tried) if chosen and tried else 0,
        "device": setup.device,
        "out": setup.out,
    }


def _side(
    name: str, offered: Sequence[SeenServer], chosen: ServerChoice | None, typed: Mapping[str, str]
) -> dict[str, Any]:
    """Return what is shown of one side: what was found, which of it is marked, and what stands in the fields for typing."""
    rows = [
        {
            "host": each.candidate.host,
            "port": each.candidate.port,
            "security": each.candidate.security,
            "protocol": each.candidate.protocol,
            "source": each.candidate.source,
            "obstacle": plain_obstacle(each.look.failure.reason) if each.look.failure else None,
            "look": each.look,
        }
        for each in offered
    ]
    usable = next((number for number, each in enumerate(offered) if each.look.is_usable), None)
    mark = str(usable) if usable is not None else _BY_HAND
    by_hand = {key: typed.get(f"{name}_{key}", "") for key in ("host", "port", "security", "protocol")}
    if chosen is not None:
        places = [(each.candidate.host, each.candidate.port) for each in offered]
        if (chosen.host, chosen.port) in places:
            mark = str(places.index((chosen.host, chosen.port)))
        else:
            mark = _BY_HAND
            if not typed:
                by_hand = {
                    "host": chosen.host,
                    "port": str(chosen.port),
                    "security": chosen.security,
                    "protocol": chosen.protocol,
                }
    return {"name": name, "rows": rows, "mark": typed.get(name) or mark, **by_hand}


def _tried(side: SideTried, mailbox: Mailbox, chosen: ChosenServers) -> dict[str, Any]:
    """Return how one side ended: its phases, and what was in the way."""
    server = chosen.smtp if side.kind == SENDING else chosen.reading
    failure = side.result.failure
    broken = failure.phase if failure else None
    obstacle = obstacle_of(mailbox, side.result)
    return {
        "side": "smtp" if side.kind == SENDING else "reading",
        "server": f"{server.host}:{server.port}" if server else "",
        "is_well": side.is_well,
        "phases": [
            (phase, side.result.phases.get(phase)) for phase in Phase if phase in side.result.phases or phase is broken
        ],
        "broken": broken,
        "obstacle": obstacle or (None if side.is_well else Obstacle.OURS),
    }
