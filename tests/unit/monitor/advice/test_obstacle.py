"""Obstacle shown to an officer when sign-in to a mailbox fails."""

from __future__ import annotations

import ssl
from datetime import timedelta

import pytest

from monitor.advice.obstacle import Obstacle, obstacle_by_reason, obstacle_of
from monitor.web.page import PAGE_TEXTS
from probes.model.mailbox import Mailbox, OAuth, Password, Security, Server
from probes.model.probe import ProbeFailedError
from probes.model.reply import Reason, SubmissionStep, imap_sign_in_failure, pop3_sign_in_failure, smtp_failure
from probes.model.result import Party, ProbeResult
from tests.unit.alerts.people import T0

OWN, GOOGLE, MICROSOFT = "mel.jabatan-contoh.gov.my", "imap.gmail.com", "outlook.office365.com"
#: These reasons do not occur in a sign-in test, because it sends nothing.
EXCLUDED = {
    Reason.MESSAGE_REFUSED,
    Reason.RETURNED,
    Reason.COPY_RETURNED,
    Reason.CONTENT_CHANGED,
    Reason.FOLDER_NOT_WATCHED,
    Reason.NOT_ARRIVED,
    Reason.MONITORING_FAULT,
    Reason.NO_SECRET,
    Reason.PROCESS_BLOCKED,
}


def mailbox(host: str, *, token: bool = False) -> Mailbox:
    server = Server(host=host, port=993, security=Security.IMPLICIT, tls=ssl.create_default_context())
    password = Password(username="peti", secret="rahsia")
    login = OAuth(username="peti", tokens=None) if token else password  # type: ignore[arg-type]
    return Mailbox(name="J/ujian", address="peti@jabatan-contoh.gov.my", smtp=server, imap=server, login=login)


def result_of(failure: ProbeFailedError) -> ProbeResult:
    return ProbeResult(
        route="J/ujian",
        token_id="",
        started_at=T0,
        duration=timedelta(seconds=1),
        outcome=failure.outcome,
        phases={},
        failure=failure.failure,
    )


def smtp(code: int, text: str) -> ProbeFailedError:
    return smtp_failure(SubmissionStep.SIGN_IN, code, text)


def imap(text: str, result: str = "NO") -> ProbeFailedError:
    return imap_sign_in_failure(result, text, Party.RECIPIENT)


@pytest.mark.parametrize(
    ("host", "failure", "obstacle"),
    [
        (OWN, smtp(535, "5.7.8 Error: authentication failed"), Obstacle.PASSWORD),
        (OWN, imap("[AUTHENTICATIONFAILED] Authentication failed."), Obstacle.PASSWORD),
        (OWN, smtp(525, "5.7.13 User account disabled"), Obstacle.ACCOUNT_OFF),
        (OWN, smtp(454, "4.7.0 Temporary authentication failure"), Obstacle.TEMPORARY),
        (OWN, imap("[UNAVAILABLE] Try again"), Obstacle.TEMPORARY),
        (OWN, pop3_sign_in_failure("[IN-USE] Mailbox is locked", Party.RECIPIENT), Obstacle.TEMPORARY),
        (GOOGLE, smtp(534, "5.7.9 Application-specific password required."), Obstacle.APP_PASSWORD),
        (GOOGLE, imap("[ALERT] Application-specific password required"), Obstacle.APP_PASSWORD),
        (GOOGLE, smtp(535, "5.7.8 Username and Password not accepted."), Obstacle.APP_PASSWORD),
        (GOOGLE, imap("[ALERT] Your account is not enabled for IMAP use."), Obstacle.IMAP_OFF),
        (MICROSOFT, imap("LOGIN failed."), Obstacle.MICROSOFT_PASSWORD),
        (
            MICROSOFT,
            smtp(535, "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant."),
            Obstacle.SMTP_OFF,
        ),
        (
            MICROSOFT,
            smtp(550, "5.7.30 Basic authentication is not supported for Client Submission."),
            Obstacle.SMTP_OFF,
        ),
        (MICROSOFT, imap("User is authenticated but not connected."), Obstacle.IMAP_OFF),
        (MICROSOFT, pop3_sign_in_failure("POP3 is disabled for this mailbox", Party.RECIPIENT), Obstacle.IMAP_OFF),
    ],
)
def test_obstacle_of_refused_sign_in(host: str, failure: ProbeFailedError, obstacle: Obstacle) -> None:
    assert obstacle_of(mailbox(host), result_of(failure)) is obstacle


@pytest.mark.parametrize("host", [GOOGLE, MICROSOFT])
def test_obstacle_of_refused_token_is_token(host: str) -> None:
    assert obstacle_of(mailbox(host, token=True), result_of(imap("AUTHENTICATE failed."))) is Obstacle.TOKEN


def test_obstacle_by_reason_covers_every_sign_in_test_reason() -> None:
    assert {each for each in Reason if obstacle_by_reason(each) is Obstacle.MONITORING_FAULT} == EXCLUDED


def test_obstacle_each_has_text_and_remedy() -> None:
    for section in ("connection_problems", "connection_remedies"):
        assert set(PAGE_TEXTS[section]) == set(Obstacle)
