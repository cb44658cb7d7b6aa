"""What docs/how-to/operator/shared-mailboxes.md tells people to write can be read, and does what is said there."""

from __future__ import annotations

from pathlib import Path

import yaml

from monitor.config.loading import load
from monitor.model.route import MonitoredRoute
from tests.leaflet import examples, put_secrets, written

PARTS = [yaml.safe_load(text) for text in examples("yaml")]
PRO, WEBMASTER = "pro@jabatan-contoh.gov.my", "webmaster@jabatan-contoh.gov.my"


def routes(directory: Path, *parts: dict[str, object]) -> list[MonitoredRoute]:
    path = written(directory, parts, {})
    put_secrets(directory, {})
    return list(load(path, {}).accepted().registry.routes_for("JCONTOH"))


def ends(route: MonitoredRoute) -> tuple[str, str, str, str]:
    return (route.name, route.route.sender.name, route.route.address, route.route.recipient.name)


def test_another_name_of_a_mailbox(tmp_path: Path) -> None:
    *_, route = routes(tmp_path, PARTS[0])
    address = "peti.pantau@jabatan-contoh.gov.my"
    assert ends(route) == ("JCONTOH/inbound/rujukan-b/peti.pantau", "rujukan-b", address, "JCONTOH/utama")


def test_a_shared_mailbox(tmp_path: Path) -> None:
    (route,) = routes(tmp_path, PARTS[1])
    recipient = route.route.recipient
    assert ends(route) == ("JCONTOH/inbound/rujukan-a/awam", "rujukan-a", PRO, "JCONTOH/awam")
    assert (recipient.inbox, recipient.junk_folders) == (f"shared/{PRO}", (f"shared/{PRO}/Junk",))
    assert not recipient.can_send


def test_forwards(tmp_path: Path) -> None:
    inside, outside = routes(tmp_path, PARTS[2])
    assert ends(inside) == ("JCONTOH/inbound/rujukan-a/pro", "rujukan-a", PRO, "JCONTOH/utama")
    assert ends(outside) == ("JCONTOH/inbound/rujukan-a/webmaster", "rujukan-a", WEBMASTER, "rujukan-b")
    assert (inside.forwarded, outside.forwarded) == (False, True)


def test_all_of_them_in_one_file(tmp_path: Path) -> None:
    names = [route.name for route in routes(tmp_path, *PARTS)]
    assert len(names) == len(set(names)) == 7
    assert len(PARTS) == 3, "every example is under test here"
