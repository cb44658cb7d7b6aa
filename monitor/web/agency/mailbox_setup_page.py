"""Pages of a mailbox setup: entry of the address, then discovered servers, sign-in, and its result.

A mailbox has two sides: "smtp" is the server that sends, "reading" the server (IMAP or POP3) that reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import Request, Response

from monitor.advice.obstacle import Obstacle, obstacle_by_reason, obstacle_of
from monitor.config.fields.circular import domain_of
from monitor.model.document import DocumentVersion
from monitor.probing.mailbox_sign_in import SENDING, SignInResult
from monitor.service.portal.agency_editor import AgencyEditor, DraftResult
from monitor.service.portal.mailbox_setup import (
    ChosenServers,
    ExaminedServer,
    MailboxSetup,
    MailboxSetups,
    ServerChoice,
)
from monitor.web.form import Pages
from probes.model.mail_platform import MailPlatform
from probes.model.mailbox import Mailbox, Security
from probes.model.result import Phase
from probes.preauth.session import Protocol

#: Form values for a server that the user enters, and for no server.
BY_HAND: Final = "hand"
NO_SERVER: Final = "none"
#: Obstacles that mean something else if an application signs in instead of a user, by the obstacle of a user. An
#: obstacle is the reason why a sign-in fails.
_APPLICATION_OBSTACLES: Final = {
    # The mail server rejects the access token.
    Obstacle.TOKEN: Obstacle.NO_MAILBOX_ACCESS,
    # Microsoft accepts the sign-in, but the account has no mailbox.
    Obstacle.FOLDER: Obstacle.NO_MAILBOX_ACCESS,
    # The authorization server issues no access token.
    Obstacle.CONSENT: Obstacle.KEY_REFUSED,
}
#: Characters that the key of a mailbox may not contain.
_NOT_IN_SLUG: Final = re.compile(r"[^a-z0-9]+")


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
        """Return the page that asks for the address of the mailbox.

        *version*: latest version of the agency's document (its YAML configuration). *problem*: key of an error text; ""
        for none. *status*: HTTP status of the response if there is a problem.
        """
        configuration = self._editor.configuration()
        portal, agency = configuration.settings.portal, configuration.registry.agencies.get(version.agency)
        context = {
            # The links to the other language need a path that accepts GET; the URL of a form may accept POST only.
            "path": f"/agencies/{version.agency}/mailboxes/new",
            "code": version.agency,
            "file": self._editor.configured_file(version),
            "can_store_secrets": portal is not None and portal.secrets_key is not None,
            "address": address,
            "domains": ", ".join(agency.domains) if agency else "",
            "problem": problem,
        }
        return self._pages.show(request, "mailbox_new.html", context, status if problem else 200)

    def page(
        self,
        request: Request,
        setup: MailboxSetup,
        *,
        problem: str = "",
        reason: str | Exception = "",
        result: DraftResult | None = None,
        form: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> Response:
        """Return the page of a setup.

        *problem*: key of an error text. *reason*: why the service rejected the mailbox. *result*: errors of the
        document with the mailbox. *form*: input to show again.
        """
        error_context = {"problem": problem, "reason": reason, "result": result}
        error_context["path"] = f"/agencies/{setup.agency}/mailboxes/new/{setup.key}"
        context = {
            **_setup_context(setup, form or {}),
            **error_context,
            "consent_procedure": self._setups.consent_procedure(setup),
        }
        return self._pages.show(request, "mailbox_setup.html", context, status)


def servers_of(setup: MailboxSetup, *protocols: Protocol) -> Sequence[ExaminedServer]:
    """Return the discovered servers for *protocols*, first the usable ones, to which a sign-in is possible.

    The form identifies a server by its position in this list.
    """
    servers_found = [each for each in setup.examined if each.candidate.protocol in protocols]
    return sorted(servers_found, key=lambda each: not each.capabilities.is_usable)


def _setup_context(setup: MailboxSetup, form: Mapping[str, str]) -> dict[str, Any]:
    # *chosen*: servers of the last sign-in or request for a consent. *mailbox*: mailbox of the last sign-in.
    platform, chosen, mailbox = setup.platform, setup.chosen, setup.mailbox
    sides = [
        _side_context("smtp", servers_of(setup, Protocol.SMTP), chosen.smtp if chosen else None, form),
        _side_context(
            "reading", servers_of(setup, Protocol.IMAP, Protocol.POP3), chosen.reading if chosen else None, form
        ),
    ]
    sign_in_results = (
        [_sign_in_context(each, setup, mailbox, chosen) for each in setup.results] if mailbox and chosen else []
    )
    return {
        "code": setup.agency,
        "setup": setup,
        "sides": sides,
        "platform": platform,
        "platforms": [platform] if platform else list(MailPlatform),
        "domain": domain_of(setup.address),
        "securities": list(Security),
        "form": form,
        "username": form.get("username") or setup.username,
        # Proposed key of the mailbox in the agency's document.
        "name": form.get("name") or _NOT_IN_SLUG.sub("-", setup.address.partition("@")[0].lower()).strip("-")[:40],
        "sign_in_results": sign_in_results,
        # Number of chosen servers at which no sign-in was attempted.
        "untried_count": len(chosen.all) - len(sign_in_results) if chosen and sign_in_results else 0,
    }


def _side_context(
    name: str, servers: Sequence[ExaminedServer], selected_server: ServerChoice | None, form: Mapping[str, str]
) -> dict[str, Any]:
    """Return the template variables of one side: its servers, the selected one, and the input.

    *name*: "smtp" or "reading".
    """
    rows = [
        (each, obstacle_by_reason(each.capabilities.failure.reason) if each.capabilities.failure else None)
        for each in servers
    ]
    # Select the server of the form, otherwise that of the last attempt, otherwise the first usable one.
    first_usable = next((position for position, each in enumerate(servers) if each.capabilities.is_usable), None)
    selected_value = str(first_usable) if first_usable is not None else BY_HAND
    typed_server = {key: form.get(f"{name}_{key}", "") for key in ("host", "port", "security", "protocol")}
    if selected_server is not None:
        addresses = [(each.candidate.host, each.candidate.port) for each in servers]
        if (selected_server.host, selected_server.port) in addresses:
            selected_value = str(addresses.index((selected_server.host, selected_server.port)))
        else:
            selected_value = BY_HAND
            if not form:
                typed_server = {
                    "host": selected_server.host,
                    "port": str(selected_server.port),
                    "security": selected_server.security,
                    "protocol": selected_server.protocol,
                }
    return {"name": name, "rows": rows, "selected_value": form.get(name) or selected_value, **typed_server}


def _sign_in_context(
    sign_in: SignInResult, setup: MailboxSetup, mailbox: Mailbox, chosen: ChosenServers
) -> dict[str, Any]:
    """Return the template variables of the sign-in result of one side: its phases and the obstacle."""
    server = chosen.smtp if sign_in.kind == SENDING else chosen.reading
    failure = sign_in.result.failure
    failed_phase = failure.phase if failure else None
    obstacle = obstacle_of(mailbox, sign_in.result)
    if setup.application is not None and obstacle is not None:
        obstacle = _APPLICATION_OBSTACLES.get(obstacle, obstacle)
    return {
        "side": "smtp" if sign_in.kind == SENDING else "reading",
        "server": f"{server.host}:{server.port}" if server else "",
        "is_successful": sign_in.is_accepted,
        "phases": [
            (phase, sign_in.result.phases.get(phase))
            for phase in Phase
            if phase in sign_in.result.phases or phase is failed_phase
        ],
        "failed_phase": failed_phase,
        # If the sign-in was not accepted and no failure tells why, the fault is Pantau's.
        "obstacle": obstacle or (None if sign_in.is_accepted else Obstacle.MONITORING_FAULT),
    }
