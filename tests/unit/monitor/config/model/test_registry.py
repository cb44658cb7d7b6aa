"""The registry that is built from valid agency files."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import pytest

from alerts.model.channel import Channel
from alerts.model.contact import Address
from alerts.model.notification import Language
from monitor.config.agency.calendar import CalendarSettings
from monitor.config.fields.window import MALAYSIA
from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import LoadCache
from monitor.config.model.registry import Registry, build_check_scope
from monitor.config.service.portal import PortalSettings
from monitor.model.route import Direction
from probes.model.mailbox import Security
from tests.mailbox_parts import imap_of, smtp_of
from tests.unit.monitor.config.ministry import Ministry, second_agency

_SECOND_MAILBOX = """\
  kaunter:
    address: kaunter@jabatan-contoh.gov.my
    smtp: {host: mel.jabatan-contoh.gov.my, security: starttls}
    imap: {host: mel.jabatan-contoh.gov.my, security: starttls, port: 1143, tls_name: mel.contoh}
    login: {username: kaunter, password_file: secrets/mail}
    junk_folders: [Spam]
contacts:
"""


@pytest.fixture
def ministry(tmp_path: Path) -> Ministry:
    return Ministry(tmp_path)


def registry_of(ministry: Ministry) -> Registry:
    return ministry.load().require_configuration().registry


def names(registry: Registry) -> list[str]:
    return [route.name for route in registry.routes]


def test_registry_default_routes_cover_all_directions_and_references(ministry: Ministry) -> None:
    registry = registry_of(ministry)
    assert names(registry) == [
        "JCONTOH/internal",
        "JCONTOH/outbound/rujukan-a",
        "JCONTOH/outbound/rujukan-b",
        "JCONTOH/inbound/rujukan-a",
        "JCONTOH/inbound/rujukan-b",
        "control/rujukan-a/rujukan-b",
        "control/rujukan-b/rujukan-a",
    ]
    ends = {route.name: (route.route.sender.name, route.route.recipient.name) for route in registry.routes}
    assert ends["JCONTOH/internal"] == ("JCONTOH/utama", "JCONTOH/utama")
    assert ends["JCONTOH/outbound/rujukan-a"] == ("JCONTOH/utama", "rujukan-a")
    assert ends["JCONTOH/inbound/rujukan-b"] == ("rujukan-b", "JCONTOH/utama")
    assert [route.direction for route in registry.routes_for("")] == [Direction.CONTROL, Direction.CONTROL]


def test_registry_second_mailbox_keeps_route_names(ministry: Ministry) -> None:
    before = names(registry_of(ministry))
    ministry.edit("jabatan", "contacts:\n", _SECOND_MAILBOX)
    registry = registry_of(ministry)
    assert set(before) < set(names(registry))
    assert {"JCONTOH/internal/kaunter", "JCONTOH/outbound/rujukan-b/kaunter"} < set(names(registry))
    inside = {route.name: route.route for route in registry.routes if route.direction is Direction.INTERNAL}
    assert inside["JCONTOH/internal"].recipient.name == "JCONTOH/kaunter"
    assert inside["JCONTOH/internal/kaunter"].recipient.name == "JCONTOH/utama"


def test_registry_listed_routes_replace_default_routes(ministry: Ministry) -> None:
    ministry.edit("jabatan", "contacts:\n", _SECOND_MAILBOX)
    listed = """\
routes:
  - {direction: internal, mailbox: kaunter, recipient: kaunter}
  - {direction: inbound, mailbox: kaunter, reference: rujukan-b}
escalation:
"""
    ministry.edit("jabatan", "escalation:\n", listed)
    routes = registry_of(ministry).routes_for("JCONTOH")
    assert [route.name for route in routes] == [
        "JCONTOH/internal/kaunter/kaunter",
        "JCONTOH/inbound/rujukan-b/kaunter",
    ]
    assert routes[1].reference == "rujukan-b"


def test_server_default_port_depends_on_security(ministry: Ministry) -> None:
    ministry.edit("jabatan", "contacts:\n", _SECOND_MAILBOX)
    first, second = (route.route.sender for route in registry_of(ministry).routes[:2])
    assert (smtp_of(first).port, imap_of(first).port, smtp_of(first).security) == (465, 993, Security.IMPLICIT)
    assert (smtp_of(second).port, imap_of(second).port, imap_of(second).tls_name) == (587, 1143, "mel.contoh")
    assert second.junk_folders == ("Spam",)


def test_servers_with_equal_authorities_share_tls_context(ministry: Ministry) -> None:
    ministry.write("kedua", second_agency())
    routes = registry_of(ministry).routes
    assert len({id(end(route.route.sender).tls) for route in routes for end in (smtp_of, imap_of)}) == 1


def test_agency_probing_overrides_service(ministry: Ministry) -> None:
    ministry.edit("pantau", "state_dir: state", "probing: {interval: 10m, failure_threshold: 4}")
    ministry.edit("jabatan", "escalation:", "probing: {interval: 3m, arrival_timeout: 90s}\nescalation:")
    registry = registry_of(ministry)
    own, control = registry.routes[0].probing, registry.routes_for("")[0].probing
    assert (own.interval, own.health.failure_threshold) == (timedelta(minutes=3), 4)
    assert own.timeouts.arrival == timedelta(seconds=90)
    assert control.interval == timedelta(minutes=10)


def test_build_policy_has_contacts_of_agency(ministry: Ministry) -> None:
    configuration = ministry.load().require_configuration()
    snapshot = configuration.registry.agencies["JCONTOH"].build_policy(configuration.settings.build_shared())
    assert (snapshot.agency, snapshot.office.short, snapshot.office.domain) == (
        "JCONTOH",
        "JCONTOH",
        "jabatan-contoh.gov.my",
    )
    assert snapshot.office.signatory_name == "Siti binti Contoh"
    first, second = snapshot.escalation.steps
    assert first.channels == (Channel.SMS, Channel.VOICE)
    assert first.contacts[0].addresses == (
        Address(channel=Channel.SMS, number="+12025550102"),
        Address(channel=Channel.VOICE, number="+442079460103", extension="W103#"),
    )
    assert (second.after, second.contacts[0].key) == (timedelta(minutes=5), "rahim")


def test_announcement_recipient_has_one_address_per_channel(ministry: Ministry) -> None:
    ministry.edit("jabatan", '"+44 20 7946 0104"', "0300000201")
    plan = registry_of(ministry).agencies["JCONTOH"].announcement.build(CalendarSettings(), MALAYSIA)
    (recipient,) = plan.recipients
    assert recipient.addresses == (
        Address(channel=Channel.FAX, number="+60300000201"),
        Address(channel=Channel.LETTER, number="Kementerian Contoh"),
    )
    assert recipient.addressee.fax == "03-0000 0201"
    assert recipient.language is Language.MALAY
    assert plan.release_offered_after == timedelta(minutes=30)


def test_check_scope_has_egress_policy_with_database_agencies_and_portal(ministry: Ministry) -> None:
    settings = ministry.load().require_configuration().settings
    registry = registry_of(ministry)
    in_the_store = settings.model_copy(update={"agencies": IN_DATABASE})
    portal = PortalSettings(allowed_mail_networks=("10.20.0.0/16",))
    edited = in_the_store.model_copy(update={"portal": portal})

    assert build_check_scope("JCONTOH", registry, settings.model_copy(update={"portal": portal})).egress is None
    assert build_check_scope("JCONTOH", registry, in_the_store).egress is None
    assert build_check_scope("JCONTOH", registry, edited).egress == portal.egress


def _as(ministry: Ministry, prober: str) -> Registry:
    text = ministry.path("pantau").read_text()
    ministry.write("pantau", f"{text}process_name: {prober}\n")
    try:
        return registry_of(ministry)
    finally:
        ministry.write("pantau", text)


def test_pool_gives_each_process_its_own_mailbox_under_reference_name(ministry: Ministry) -> None:
    before = names(registry_of(ministry))
    ministry.pool()
    one, other = _as(ministry, "prob-1"), _as(ministry, "prob-2")

    assert names(one) == names(other) == before
    assert [each.mailboxes["rujukan-a"].mailbox.address for each in (one, other)] == [
        "dua@rujukan-a.gov.my",
        "satu@rujukan-a.gov.my",
    ]
    for registry in (one, other):
        box = registry.mailboxes["rujukan-a"].mailbox
        ends = [end for route in registry.routes for end in (route.route.sender, route.route.recipient)]
        assert {end for end in ends if end.name == "rujukan-a"} == {box}
        assert [name for name, each in registry.mailboxes.items() if each.mailbox.pooled] == ["rujukan-a"]


def test_pool_mailbox_of_process_stays_after_reload(ministry: Ministry) -> None:
    ministry.pool()
    settings = ministry.load().require_configuration().settings
    assert settings.process_name == socket.gethostname()
    cache = LoadCache()
    cache.active_registry = ministry.load(cache=cache).require_configuration().registry
    again = ministry.load(cache=cache).require_configuration().registry
    assert again.routes == cache.active_registry.routes
    assert again.mailboxes["rujukan-a"] is cache.active_registry.mailboxes["rujukan-a"]


def test_reference_changed_to_pool_of_one_is_another_mailbox(ministry: Ministry) -> None:
    cache = LoadCache()
    cache.active_registry = ministry.load(cache=cache).require_configuration().registry
    was = cache.active_registry.mailboxes["rujukan-a"].mailbox
    text = ministry.path("pantau").read_text()
    begin, end = text.index("    address: pantau@rujukan-a"), text.index("  rujukan-b:")
    lines = text[begin:end].splitlines()
    pool = "".join(f"      {'- ' if n == 0 else '  '}{line.strip()}\n" for n, line in enumerate(lines))
    ministry.write("pantau", text[:begin] + "    pool:\n" + pool + text[end:])

    becomes = ministry.load(cache=cache).require_configuration().registry.mailboxes["rujukan-a"].mailbox
    assert (was.address, was.pooled, becomes.pooled) == (becomes.address, False, True)


def test_check_scope_uses_pool_mailbox_of_process(ministry: Ministry) -> None:
    ministry.pool()
    configuration = ministry.load().require_configuration()
    used = configuration.registry.mailboxes["rujukan-a"].mailbox
    assert build_check_scope("JCONTOH", configuration.registry, configuration.settings).our_address == used.address
    looked_at = build_check_scope("", configuration.registry, configuration.settings).mailboxes
    assert [(each.name, each.address) for each in looked_at] == [
        ("rujukan-a", used.address),
        ("rujukan-b", "pantau@rujukan-b.edu.my"),
    ]
