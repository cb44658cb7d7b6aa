"""Routes to addresses without a login: their keys and the problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from monitor.config.agency.route import control_routes, default_routes
from monitor.config.model.registry import build_check_scope
from tests.unit.monitor.config.ministry import Ministry

_AGENCY = "agencies/jabatan.yaml"
_FORWARD = "{direction: inbound, reference: rujukan-a, to: pro@jabatan-contoh.gov.my, arrives_in: rujukan-b}"


def with_routes(ministry: Ministry, *routes: str) -> None:
    ministry.edit("jabatan", "escalation:", "routes:\n" + "".join(f"  - {each}\n" for each in routes) + "escalation:")


def without_mailboxes(ministry: Ministry) -> None:
    text = ministry.path("jabatan").read_text()
    ministry.write("jabatan", text[: text.index("mailboxes:")] + text[text.index("contacts:\n  siti") :])


def test_route_to_secondary_address_uses_mailbox(ministry: Ministry) -> None:
    with_routes(ministry, "{direction: inbound, reference: rujukan-a, to: siti@jabatan-contoh.gov.my}")
    (route,) = ministry.load().require_configuration().registry.routes_for("JCONTOH")

    assert route.name == "JCONTOH/inbound/rujukan-a/siti"
    assert (route.route.address, route.route.recipient.name) == ("siti@jabatan-contoh.gov.my", "JCONTOH/utama")
    assert route.references == ("rujukan-a",)
    assert not route.forwarded


def test_mailbox_of_secondary_address_with_same_folder_is_refused(ministry: Ministry) -> None:
    own = "    login: {username: pantau, password_file: secrets/mail}\n"
    again = "  kedua:\n    address: siti@jabatan-contoh.gov.my\n    imap: {host: imap.gmail.com}\n"
    ministry.edit("jabatan", own, own + again + own)

    # Two readers of one folder would remove each other's messages.
    assert ministry.problems() == [
        (
            f"{_AGENCY}:17: mailboxes.kedua: the folder 'INBOX of pantau at imap.gmail.com' is also at {_AGENCY}:12; "
            "write instead: an inbound route with `to: siti@jabatan-contoh.gov.my` and the existing mailbox"
        )
    ]
    ministry.edit("jabatan", again, again + "    inbox: Kongsi/Siti\n")
    assert ministry.problems() == []


def test_route_forwarded_is_read_in_receiving_reference(ministry: Ministry) -> None:
    with_routes(ministry, _FORWARD)
    (route,) = ministry.load().require_configuration().registry.routes_for("JCONTOH")

    assert route.name == "JCONTOH/inbound/rujukan-a/pro"
    assert (route.route.sender.name, route.route.recipient.name) == ("rujukan-a", "rujukan-b")
    assert route.route.address == "pro@jabatan-contoh.gov.my"
    assert route.references == ("rujukan-a", "rujukan-b")
    assert (route.forwarded, route.reference, route.agency) == (True, "rujukan-a", "JCONTOH")


def test_agency_without_mailbox_has_forwarded_routes_only(ministry: Ministry) -> None:
    with_routes(ministry, _FORWARD)
    without_mailboxes(ministry)

    assert [route.name for route in ministry.load().require_configuration().registry.routes_for("JCONTOH")] == [
        "JCONTOH/inbound/rujukan-a/pro"
    ]


def test_agency_without_mailbox_and_with_outbound_route_is_refused(ministry: Ministry) -> None:
    without_mailboxes(ministry)
    with_routes(ministry, _FORWARD, "{direction: outbound, reference: rujukan-a}")

    assert ministry.problems() == [
        (
            f"{_AGENCY}:1: mailboxes: there is no mailbox to probe; "
            "write instead: a key for the mailbox and its settings below it"
        )
    ]


def test_agency_with_empty_mailboxes_is_valid_and_not_probed(
    ministry: Ministry,
) -> None:
    without_mailboxes(ministry)
    ministry.edit("jabatan", "contacts:\n  siti", "mailboxes: {}\ncontacts:\n  siti")

    assert ministry.load().require_configuration().registry.routes_for("JCONTOH") == ()
    (said,) = ministry.problems()
    assert "mailboxes: there is no mailbox yet: nothing of this agency is probed" in said


def test_route_to_other_domain_of_agency_has_full_address_in_name(ministry: Ministry) -> None:
    ministry.edit("jabatan", "[jabatan-contoh.gov.my]", "[jabatan-contoh.gov.my, contoh-lama.gov.my]")
    old = _FORWARD.replace("pro@jabatan-contoh.gov.my", "PRO@Contoh-Lama.gov.my")
    with_routes(ministry, _FORWARD, old)

    assert [route.name for route in ministry.load().require_configuration().registry.routes_for("JCONTOH")] == [
        "JCONTOH/inbound/rujukan-a/pro",
        "JCONTOH/inbound/rujukan-a/pro@contoh-lama.gov.my",
    ]


MISTAKES = [
    (
        "{direction: inbound, reference: rujukan-a, to: pro@gmail.com}",
        (
            "routes[0].to: 'pro@gmail.com' is at a private provider (circular, 3f); "
            "write instead: an address at jabatan-contoh.gov.my"
        ),
    ),
    (
        "{direction: inbound, reference: rujukan-a, to: pro@lain.gov.my}",
        (
            "routes[0].to: 'pro@lain.gov.my' is outside the agency's registered domains (circular, 3c and 3e); "
            "write instead: an address at jabatan-contoh.gov.my, or register lain.gov.my under domains"
        ),
    ),
    (
        "{direction: inbound, reference: rujukan-a, to: PANTAU@jabatan-contoh.gov.my}",
        "routes[0].to: is the address of 'utama' itself; write instead: another address, or leave `to` out",
    ),
    (
        "{direction: outbound, reference: rujukan-a, to: pro@jabatan-contoh.gov.my}",
        "routes[0].to: an outbound route has no to; write instead: an inbound route with to",
    ),
    (
        "{direction: internal, arrives_in: rujukan-a}",
        "routes[0].arrives_in: an internal route has no arrives_in; write instead: an inbound route with arrives_in",
    ),
    (
        "{direction: inbound, reference: rujukan-a, arrives_in: rujukan-b}",
        (
            "routes[0]: arrives_in needs to: it says only where the copy arrives; "
            "write instead: to: the address that forwards to it"
        ),
    ),
    (
        _FORWARD.replace("arrives_in: rujukan-b", "arrives_in: rujukan-a"),
        (
            "routes[0].arrives_in: is also the sender, and some providers hide a message that returns to its sender; "
            "write instead: rujukan-b"
        ),
    ),
    (
        _FORWARD.replace("arrives_in: rujukan-b", "arrives_in: rujukan-c"),
        "routes[0].arrives_in: there is no reference mailbox 'rujukan-c'; write instead: rujukan-b",
    ),
    (
        _FORWARD.replace("to:", "mailbox: utama, to:"),
        (
            "routes[0].mailbox: the message arrives in the reference of arrives_in, not here; "
            "write instead: mailbox or arrives_in"
        ),
    ),
    (
        "{direction: inbound, to: pro@jabatan-contoh.gov.my, arrives_in: rujukan-b}",
        "routes[0]: an inbound route needs a reference; write instead: reference: rujukan-a or rujukan-b",
    ),
]


@pytest.mark.parametrize(("route", "problem"), MISTAKES, ids=[problem[:50] for _, problem in MISTAKES])
def test_route_mistake_is_only_problem(ministry: Ministry, route: str, problem: str) -> None:
    with_routes(ministry, route)
    (found,) = ministry.problems()
    assert found.split(": ", 1)[1] == problem


def test_route_duplicate_address_is_refused(ministry: Ministry) -> None:
    with_routes(ministry, _FORWARD, _FORWARD)
    (problem,) = ministry.problems()
    assert "routes[1]: the route 'JCONTOH/inbound/rujukan-a/pro' is also at agencies/jabatan.yaml:24" in problem


ONE_WAY = [
    (
        ("jabatan", "    smtp: {host: smtp.gmail.com}\n", ""),
        "{direction: outbound, mailbox: utama, reference: rujukan-a}",
        "routes[0].mailbox: nothing can be sent from 'utama': it has no smtp; write instead: a mailbox with smtp",
    ),
    (
        ("jabatan", "    imap: {host: imap.gmail.com}\n", ""),
        "{direction: inbound, reference: rujukan-a}",
        ("routes[0]: 'utama' cannot be read: it has no imap and no pop3; write instead: a mailbox with imap or pop3"),
    ),
    (
        ("jabatan", "    imap: {host: imap.gmail.com}\n", ""),
        "{direction: internal}",
        ("routes[0]: 'utama' cannot be read: it has no imap and no pop3; write instead: a mailbox with imap or pop3"),
    ),
    (
        ("pantau", "    smtp: {host: mel.rujukan-a.gov.my}\n", ""),
        "{direction: inbound, reference: rujukan-a}",
        (
            "routes[0].reference: nothing can be sent from 'rujukan-a': it has no smtp; "
            "write instead: a mailbox with smtp"
        ),
    ),
    (
        ("pantau", "    imap: {host: mel.rujukan-b.edu.my}\n", ""),
        _FORWARD,
        (
            "routes[0].arrives_in: 'rujukan-b' cannot be read: it has no imap and no pop3; "
            "write instead: a mailbox with imap or pop3"
        ),
    ),
]


@pytest.mark.parametrize(("edit", "route", "problem"), ONE_WAY, ids=[problem[:60] for *_, problem in ONE_WAY])
def test_route_needs_sending_and_readable_mailbox(
    ministry: Ministry, edit: tuple[str, str, str], route: str, problem: str
) -> None:
    ministry.edit(*edit)
    with_routes(ministry, route)
    assert [found.split(": ", 1)[1] for found in ministry.problems() if ": routes[0]" in found] == [problem]


# -- mailboxes that only send or only receive --------------------------------------------------------------------------


@dataclass(frozen=True)
class MailboxStub:
    """The attributes of a mailbox that routes use."""

    can_send: bool = True
    is_readable: bool = True


BOTH, SENDS, READS = MailboxStub(), MailboxStub(is_readable=False), MailboxStub(can_send=False)


def routes(
    own: dict[str, MailboxStub], references_of_service: Sequence[str] = ("a",)
) -> list[tuple[str, str | None, str | None]]:
    found = default_routes(own, dict.fromkeys(references_of_service, BOTH))  # type: ignore[arg-type]
    return [(str(each.direction), each.mailbox, each.reference) for each in found]


def test_default_routes_mailbox_with_one_protocol_has_one_direction() -> None:
    assert routes({"utama": SENDS}) == [("outbound", "utama", "a")]
    assert routes({"utama": READS}) == [("inbound", "utama", "a")]
    assert routes({"hantar": SENDS, "terima": READS}) == [
        ("internal", "hantar", None),
        ("outbound", "hantar", "a"),
        ("inbound", "terima", "a"),
    ]


@pytest.mark.parametrize(
    ("references", "expected"),
    [
        ({"a": BOTH, "b": BOTH}, ["a/b", "b/a"]),
        ({"a": BOTH, "b": BOTH, "c": BOTH}, ["a/b", "b/c", "c/a"]),
        ({"a": BOTH, "b": READS}, ["a/b"]),
        ({"a": SENDS, "b": READS}, ["a/b"]),
        ({"a": BOTH, "b": SENDS, "c": BOTH}, ["a/c", "b/c", "c/a"]),
        ({"a": BOTH, "b": READS, "c": READS}, ["a/b", "a/c"]),
        ({"a": BOTH}, []),
        ({}, []),
    ],
)
def test_control_routes_test_what_each_reference_supports(
    references: dict[str, MailboxStub], expected: list[str]
) -> None:
    legs = control_routes(references)  # type: ignore[arg-type]
    assert [leg.name.removeprefix("control/") for leg in legs] == expected


# -- check scope -------------------------------------------------------------------------------------------------------


def test_check_scope_of_agency_has_own_mailboxes_and_domains(ministry: Ministry) -> None:
    with_routes(ministry, "{direction: internal}", _FORWARD)
    configuration = ministry.load().require_configuration()
    found = build_check_scope("JCONTOH", configuration.registry, configuration.settings)

    assert (found.agency, found.domains) == ("JCONTOH", ("jabatan-contoh.gov.my",))
    assert [mailbox.name for mailbox in found.mailboxes] == ["JCONTOH/utama"]
    assert found.our_address == "pantau@rujukan-a.gov.my"
    assert found.sample_message() is None
    assert found.name_servers == configuration.settings.checks.build_name_servers()


def test_check_scope_of_service_has_references_and_no_domains(ministry: Ministry) -> None:
    configuration = ministry.load().require_configuration()
    found = build_check_scope("", configuration.registry, configuration.settings, sample_message=lambda: b"x")

    assert [mailbox.name for mailbox in found.mailboxes] == ["rujukan-a", "rujukan-b"]
    assert (found.domains, found.sample_message()) == ((), b"x")
