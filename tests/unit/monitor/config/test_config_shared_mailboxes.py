"""The examples in docs/how-to/operator/shared-mailboxes.md: valid routes."""

from __future__ import annotations

from pathlib import Path

import yaml

from monitor.config.loading import load
from monitor.model.route import MonitoredRoute
from tests.document_examples import examples, write_secrets, written

PARTS = [yaml.safe_load(text) for text in examples("yaml")]
PRO, WEBMASTER = "pro@jabatan-contoh.gov.my", "webmaster@jabatan-contoh.gov.my"


def routes(directory: Path, *parts: dict[str, object]) -> list[MonitoredRoute]:
    path = written(directory, parts, {})
    write_secrets(directory, {})
    return list(load(path, {}).require_configuration().registry.routes_for("JCONTOH"))


def route_summary(route: MonitoredRoute) -> tuple[str, str, str, str]:
    return (route.name, route.route.sender.name, route.route.address, route.route.recipient.name)


def test_shared_mailboxes_document_alias_route(tmp_path: Path) -> None:
    *_, route = routes(tmp_path, PARTS[0])
    address = "peti.pantau@jabatan-contoh.gov.my"
    assert route_summary(route) == ("JCONTOH/inbound/rujukan-b/peti.pantau", "rujukan-b", address, "JCONTOH/utama")


def test_shared_mailboxes_document_shared_mailbox_route(tmp_path: Path) -> None:
    (route,) = routes(tmp_path, PARTS[1])
    recipient = route.route.recipient
    assert route_summary(route) == ("JCONTOH/inbound/rujukan-a/awam", "rujukan-a", PRO, "JCONTOH/awam")
    assert (recipient.inbox, recipient.junk_folders) == (f"shared/{PRO}", (f"shared/{PRO}/Junk",))
    assert not recipient.can_send


def test_shared_mailboxes_document_forwarded_routes(tmp_path: Path) -> None:
    inside, outside = routes(tmp_path, PARTS[2])
    assert route_summary(inside) == ("JCONTOH/inbound/rujukan-a/pro", "rujukan-a", PRO, "JCONTOH/utama")
    assert route_summary(outside) == ("JCONTOH/inbound/rujukan-a/webmaster", "rujukan-a", WEBMASTER, "rujukan-b")
    assert (inside.forwarded, outside.forwarded) == (False, True)


def test_shared_mailboxes_document_examples_combine(tmp_path: Path) -> None:
    names = [route.name for route in routes(tmp_path, *PARTS)]
    assert len(names) == len(set(names)) == 7
    assert len(PARTS) == 3, "every example is under test here"
