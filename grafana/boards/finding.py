"""What checks have found: the same panels for all agencies, and for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from grafana.boards.dashboard import agency_link, runbook_link
from grafana.boards.panel import Json, bars, lines, table
from grafana.boards.queries import first

_WEEK: Final = 7 * 86400
_FOUND: Final = {
    2: ("down · rosak", "red"),
    1: ("weak · lemah", "orange"),
    0: ("fine · baik", "green"),
}


def findings(agencies: str) -> Sequence[Json]:
    """Return panels of the checks of *agencies*, which is what a query selects them by."""
    state = f"pantau_check_state{{{agencies}}}"
    return (
        table(
            "Findings · Penemuan",
            'Warnings and failures of certificates, DNS and servers, the worst twenty. "nothing" when all checks pass; empty when none has run.',
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
            "The ten certificates that expire first, of all checked servers.",
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
            "Unknown findings · Tidak dapat disemak",
            "Number of findings that each check could not determine.",
            (f"sum by (check) (max by (agency, check) (pantau_check_unknown_findings{{{agencies}}}))", "{{check}}"),
            size=(6, 6),
        ),
        lines(
            "Age of the checks · Usia semakan",
            "Time since each check last finished, of the agency where that is longest.",
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
            "Clock skew of relays, the ten largest. If all are skewed, it is Pantau's clock.",
            (
                f"topk(10, max by (agency, direction) (abs(pantau_relay_clock_skew_seconds{{{agencies}}})))",
                "{{agency}} {{direction}}",
            ),
            size=(6, 6),
            unit="s",
        ),
        bars(
            "Undeleted probe messages · E-mel Pantau yang kekal",
            'Probe messages that stay in a mailbox although they were deleted: it fills up. The log says what to check. "none" when all are gone.',
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
            'Used share of the quota, the fullest mailboxes: a full one accepts no probe. "none" where no server reports it.',
            (first(f"max by (agency, mailbox) (pantau_mailbox_used_ratio{{{agencies}}})"), "{{agency}} {{mailbox}}"),
            size=(6, 6),
            unit="percentunit",
            steps=("green", (0.9, "orange"), (1, "red")),
            links=runbook_link("mailbox-full"),
        ),
        bars(
            "Mailboxes without a credential · Peti mel yang terkunci",
            'Mailboxes whose stored secret is unavailable: its key is missing, or it is not in the database. "none" when all are available.',
            (
                first(f"max by (agency, mailbox) (pantau_mailbox_credential_unavailable{{{agencies}}})"),
                "{{agency}} {{mailbox}}",
            ),
            size=(6, 6),
            steps=("green", (1, "orange")),
            links=runbook_link("mailbox-credential-unavailable"),
        ),
    )
