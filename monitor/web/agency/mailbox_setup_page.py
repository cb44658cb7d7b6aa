"""Page of a pending mailbox setup: discovered servers, pending steps, result."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Request, Response

from monitor.advice.obstacle import Obstacle, obstacle_of, plain_obstacle
from monitor.config.fields.circular import domain_of
from monitor.model.document import DocumentVersion
from monitor.probing.mailbox_sign_in import SENDING, SignInResult
from monitor.service.portal.agency_editor import AgencyEditor, DraftResult
from monitor.service.portal.mailbox_setup import ChosenServers, MailboxSetup, MailboxSetups, SeenServer, ServerChoice
from monitor.web.form import Pages
from probes.model.mail_platform import MailPlatform
from probes.model.mailbox import Mailbox, Security
from probes.model.result import Phase
from probes.preauth.session import Protocol

#: Form values for a server entered by hand, and for no server.
BY_HAND: Final = "hand"
NONE: Final = "none"
#: Obstacles of an application, by the corresponding obstacle of a user's consent.
_OF_AN_APPLICATION: Final = {
    Obstacle.TOKEN: Obstacle.NOT_LET_IN,
    # Microsoft accepts the sign-in, but the account has no mailbox.
    Obstacle.FOLDER: Obstacle.NOT_LET_IN,
    Obstacle.CONSENT: Obstacle.KEY_REFUSED,
}
_NO_SLUG: Final = re.compile(r"[^a-z0-9]+")


class MailboxSetupPage:
    """Renderer of the setup pages."""

    def __init__(self, setups: MailboxSetups, editor: AgencyEditor, pages: Pages) -> None:
        self._setups = setups
        self._editor = editor
        self._pages = pages

    def start(
        self,
        request: Request,
        version: DocumentVersion,
        *,
        address: str = "",
        problem: str = "",
        status: int = 422,
    ) -> Response:
        """Return the page that asks for an address. It first shows what could not be stored.

        *status*: the HTTP status if there is a problem.
        """
        configuration = self._editor.configuration()
        portal, agency = configuration.settings.portal, configuration.registry.agencies.get(version.agency)
        facts = {
            # The response to a form has its own URL, which has no page in another language.
            "path": f"/agencies/{version.agency}/mailboxes/new",
            "code": version.agency,
            "file": self._editor.file_of(version),
            "can_keep": portal is not None and portal.secrets_key is not None,
            "address": address,
            "domains": ", ".join(agency.domains) if agency else "",
            "problem": problem,
        }
        return self._pages.show(request, "mailbox_new.html", facts, status if problem else 200)

    def page(
        self,
        request: Request,
        setup: MailboxSetup,
        *,
        problem: str = "",
        why: str | Exception = "",
        answer: DraftResult | None = None,
        typed: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        """Return the page of a setup.

        *problem*: a key of its texts; *why*: the reason why the mailbox could not be stored.
        """
        told = {"problem": problem, "why": why, "answer": answer}
        told["path"] = f"/agencies/{setup.agency}/mailboxes/new/{setup.key}"
        facts = {**_seen(setup, typed or {}), **told, "consents": self._setups.consent_way(setup)}
        return self._pages.show(request, "mailbox_setup.html", facts, status)


def offered(setup: MailboxSetup, *protocols: Protocol) -> Sequence[SeenServer]:
    """Return the discovered servers of a protocol, those with a supported sign-in first."""
    found = [each for each in setup.seen if each.candidate.protocol in protocols]
    return sorted(found, key=lambda each: not each.look.is_usable)


def _seen(setup: MailboxSetup, typed: Mapping[str, str]) -> dict[str, Any]:
    platform, chosen, mailbox = setup.platform, setup.chosen, setup.mailbox
    sides = [
        _side("smtp", offered(setup, Protocol.SMTP), chosen.smtp if chosen else None, typed),
        _side("reading", offered(setup, Protocol.IMAP, Protocol.POP3), chosen.reading if chosen else None, typed),
    ]
    tried = [_tried(each, setup, mailbox, chosen) for each in setup.tried] if mailbox and chosen else []
    return {
        "code": setup.agency,
        "setup": setup,
        "sides": sides,
        "platform": platform,
        "platforms": [platform] if platform else list(MailPlatform),
        "domain": domain_of(setup.address),
        "securities": list(Security),
        "typed": typed,
        "username": typed.get("username") or setup.username,
        "name": typed.get("name") or _NO_SLUG.sub("-", setup.address.partition("@")[0].lower()).strip("-")[:40],
        "tried": tried,
        "untried": len(chosen.all) - len(tried) if chosen and tried else 0,
    }


def _side(
    name: str, offered: Sequence[SeenServer], chosen: ServerChoice | None, typed: Mapping[str, str]
) -> dict[str, Any]:
    """Return the template values of one side: discovered servers, the selected one, and the input fields."""
    rows = [(each, plain_obstacle(each.look.failure.reason) if each.look.failure else None) for each in offered]
    usable = next((number for number, each in enumerate(offered) if each.look.is_usable), None)
    mark = str(usable) if usable is not None else BY_HAND
    by_hand = {key: typed.get(f"{name}_{key}", "") for key in ("host", "port", "security", "protocol")}
    if chosen is not None:
        places = [(each.candidate.host, each.candidate.port) for each in offered]
        if (chosen.host, chosen.port) in places:
            mark = str(places.index((chosen.host, chosen.port)))
        else:
            mark = BY_HAND
            if not typed:
                by_hand = {
                    "host": chosen.host,
                    "port": str(chosen.port),
                    "security": chosen.security,
                    "protocol": chosen.protocol,
                }
    return {"name": name, "rows": rows, "mark": typed.get(name) or mark, **by_hand}


def _tried(side: SignInResult, setup: MailboxSetup, mailbox: Mailbox, chosen: ChosenServers) -> dict[str, Any]:
    """Return the result of one side: its phases and the obstacle."""
    server = chosen.smtp if side.kind == SENDING else chosen.reading
    failure = side.result.failure
    broken = failure.phase if failure else None
    obstacle = obstacle_of(mailbox, side.result)
    if setup.application is not None and obstacle is not None:
        obstacle = _OF_AN_APPLICATION.get(obstacle, obstacle)
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
