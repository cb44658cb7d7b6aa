"""What checks have found: the same panels for all agencies, and for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from grafana.boards.dashboard import agency_link, runbook_link
from grafana.boards.panel import Json, bars, lines, table
from grafana.boards.queries import first

_WEEK: Final = 7 * 86400
_FOUND: Final = {
    2: ("broken · rosak", "red"),
    1: ("weak · lemah", "orange"),
    0: ("fine · baik", "green"),
}


def findings(agencies: str) -> Sequence[Json]:
    """Return panels of the checks of *agencies*, which is what a query selects them by."""
    state = f"pantau_check_state{{{agencies}}}"
    return (
        table(
            "Findings · Penemuan",
            "What the checks found weak or broken of certificates, DNS and servers, the worst twenty. "
            '"nothing" when they looked and found all well; empty when nobody has looked.',
            f"topk(20, max by (agency, check, aspect, subject) ({state}) > 0)"
            f' or on () label_replace(0 * max({state}), "check", "nothing · tiada", "", "")',
            size=(12, 8),
            columns={
                "agency": "Agency · Agensi",
                "check": "Check · Semakan",
                "aspect": "Aspect · Aspek",
                "subject": "Of what · Perkara",
                "Value": "Found · Ditemui",
            },
            words=_FOUND,
            links={"Agency · Agensi": agency_link("${__data.fields.agency}")},
        ),
        bars(
            "Certificates expire in · Sijil tamat dalam",
            "The ten certificates that expire first, of all servers that the checks look at.",
            (
                f"bottomk(10, min by (agency, server) (pantau_certificate_expiry_timestamp_seconds{{{agencies}}}) - time())",
                "{{agency}} {{server}}",
            ),
            size=(6, 8),
            unit="s",
            steps=("red", (_WEEK, "orange"), (3 * _WEEK, "green")),
            links=agency_link("${__field.labels.agency}") | runbook_link("certificate-expiring"),
        ),
        bars(
            "Access tokens expire in · Token akses tamat dalam",
            "The ten access tokens that expire first. They are renewed when the mailbox is next signed in to.",
            (
                f"bottomk(10, max by (agency, mailbox) (pantau_oauth_token_expiry_timestamp_seconds{{{agencies}}}) - time())",
                "{{mailbox}}",
            ),
            size=(6, 8),
            unit="s",
            steps=("red", (300, "green")),
            links=agency_link("${__field.labels.agency}") | runbook_link("token-expired"),
        ),
        lines(
            "Could not look · Tidak dapat disemak",
            "How many things each check could not look at. They have no state, neither good nor bad.",
            (f"sum by (check) (max by (agency, check) (pantau_check_unknown_findings{{{agencies}}}))", "{{check}}"),
            size=(6, 6),
        ),
        lines(
            "Age of the checks · Usia semakan",
            "How long ago each check last ran to its end, of the agency where that is longest.",
            (
                (
                    "time() - min by (check)"
                    f" (max by (agency, check) (pantau_check_run_timestamp_seconds{{{agencies}}}))"
                ),
                "{{check}}",
            ),
            size=(6, 6),
            unit="s",
        ),
        lines(
            "Clocks of relays · Jam pelayan geganti",
            "How far relays' clocks are from ours, for the ten that are farthest. If all are, it is ours.",
            (
                f"topk(10, max by (agency, direction) (abs(pantau_relay_clock_skew_seconds{{{agencies}}})))",
                "{{agency}} {{direction}}",
            ),
            size=(6, 6),
            unit="s",
        ),
        bars(
            "Own mail that stays · E-mel Pantau yang kekal",
            "Messages of ours that stay in a mailbox although they were deleted there, by mailbox: it fills up. "
            'The log says what to look at. "none" when all are gone.',
            (
                first(f"max by (agency, mailbox) (pantau_mailbox_undeleted_messages{{{agencies}}})"),
                "{{agency}} {{mailbox}}",
            ),
            size=(6, 6),
            steps=("green", (1, "orange")),
            links=runbook_link("mailbox-undeleted-messages"),
        ),
        bars(
            "Mailboxes by quota · Kuota peti mel",
            "How much of its quota each mailbox uses, of those that use most: one that is full takes no probe. "
            '"none" where no server tells.',
            (first(f"max by (agency, mailbox) (pantau_mailbox_used_ratio{{{agencies}}})"), "{{agency}} {{mailbox}}"),
            size=(6, 6),
            unit="percentunit",
            steps=("green", (0.9, "orange"), (1, "red")),
            links=runbook_link("mailbox-full"),
        ),
        bars(
            "Mailboxes that cannot be opened · Peti mel yang terkunci",
            "Mailboxes that are not signed in to, because the secret that was typed for them cannot be read: its key is lost, "
            'or it is not in the store. "none" when all can be.',
            (
                first(f"max by (agency, mailbox) (pantau_mailbox_credential_unavailable{{{agencies}}})"),
                "{{agency}} {{mailbox}}",
            ),
            size=(6, 6),
            steps=("green", (1, "orange")),
            links=runbook_link("mailbox-credential-unavailable"),
        ),
    )
