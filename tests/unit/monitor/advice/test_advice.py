"""Advice to the operator on the result of a run."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import yaml

from alerts.model.notification import Language
from monitor.advice import Advice, advise, placeholders, texts
from monitor.advice.case import Case
from monitor.advice.known_cause import failure_text_keys
from monitor.model.route import Direction, MonitoredRoute
from probes.model.mailbox import AccessToken, Mailbox, OAuth, Security
from probes.model.reply import Reason, SubmissionStep, smtp_failure
from probes.model.result import Failure, Outcome, Party, Phase, ProbeResult
from tests.mailbox_parts import imap_of, smtp_of
from tests.unit.monitor.world import SECOND, T0, arrived, forwarded, route

OUTBOUND = route("JCM", Direction.OUTBOUND, "JCM/utama", "a")
INBOUND = route("JCM", Direction.INBOUND, "a", "JCM/utama")
S, R = Party.SENDER, Party.RECIPIENT


class Tokens:
    expires_at = None

    async def get(self) -> AccessToken:
        return AccessToken(secret="rahsia")

    def reject(self, token: AccessToken) -> bool:
        return bool(token)


def at(mailbox: Mailbox, host: str, port: int, security: Security = Security.IMPLICIT) -> Mailbox:
    smtp, imap = smtp_of(mailbox), imap_of(mailbox)
    return replace(
        mailbox,
        smtp=replace(smtp, host=host, port=port, security=security),
        imap=replace(imap, host=host, port=port, security=security),
    )


def with_ends(of: MonitoredRoute, mailbox: Mailbox) -> MonitoredRoute:
    return replace(of, route=replace(of.route, sender=mailbox, recipient=mailbox))


def told(
    reason: str,
    phase: Phase = Phase.AUTH,
    party: Party = S,
    outcome: Outcome = Outcome.AUTH,
    *,
    of: MonitoredRoute = OUTBOUND,
    detail: str = "",
    code: int | None = None,
    status: str | None = None,
    uncertain: bool = False,
) -> Advice:
    failure = Failure(phase=phase, party=party, reason=reason, detail=detail, code=code, status=status)
    result = ProbeResult(
        route=of.name,
        token_id="00c0ffee",
        started_at=T0,
        duration=SECOND,
        outcome=outcome,
        failure=failure,
        uncertain=uncertain,
    )
    return advise(of, result)


def whole(advice: Advice) -> str:
    return " ".join([advice.what, advice.do, advice.who, *advice.steps])


@pytest.mark.parametrize("reason", Reason)
def test_advise_every_reason_has_filled_text(reason: Reason) -> None:
    advice = told(reason)
    assert all([advice.what, advice.do, advice.who])
    # No placeholder and no empty bracket is left.
    assert not set("{}") & set(whole(advice))
    assert "()" not in whole(advice)


@pytest.mark.parametrize("party", Party)
@pytest.mark.parametrize("of", [OUTBOUND, INBOUND, forwarded("JCM")], ids=["outbound", "inbound", "forwarded"])
def test_advice_every_text_has_placeholders_for_every_route(of: MonitoredRoute, party: Party) -> None:
    failure = Failure(phase=Phase.AUTH, party=party, reason="")
    result = replace(arrived(of, T0), failure=failure, outcome=Outcome.AUTH)
    case = Case(route=of.route, result=result, failure=failure)
    bare = replace(case, route=replace(of.route, sender=replace(of.route.sender, smtp=None)))
    for each in (case, bare):
        told = placeholders(each)
        for key, need in texts.TEXT_SPECS.items():
            if not key.startswith(("ended.", "words.", "arrived.")):
                assert need.always | need.maybe == told.keys(), key
        assert all(texts.build_advice(key, told, language).what for key in failure_text_keys() for language in Language)


GMAIL = with_ends(OUTBOUND, at(OUTBOUND.route.sender, "smtp.gmail.com", 465))
MICROSOFT = with_ends(OUTBOUND, at(OUTBOUND.route.sender, "smtp.office365.com", 587, Security.STARTTLS))
YAHOO = with_ends(OUTBOUND, at(OUTBOUND.route.sender, "smtp.mail.yahoo.com", 465))
BY_TOKEN = with_ends(MICROSOFT, replace(MICROSOFT.route.sender, login=OAuth(username="pantau", tokens=Tokens())))
GOOGLES_TOKEN = with_ends(GMAIL, replace(GMAIL.route.sender, login=OAuth(username="pantau", tokens=Tokens())))


def refused(step: SubmissionStep, code: int, text: str, of: MonitoredRoute = OUTBOUND) -> Advice:
    """Return the advice for an SMTP reply, parsed as in production."""
    ended = smtp_failure(step, code, text)
    result = ProbeResult(
        route=of.name,
        token_id="00c0ffee",
        started_at=T0,
        duration=SECOND,
        outcome=ended.outcome,
        failure=ended.failure,
    )
    return advise(of, result)


@pytest.mark.parametrize(
    ("step", "code", "text", "of", "expected"),
    [
        (SubmissionStep.SIGN_IN, 534, "5.7.9 Application-specific password required.", GMAIL, "app password"),
        (SubmissionStep.SIGN_IN, 535, "5.7.8 Username and Password not accepted. gsmtp", GMAIL, "app password"),
        (SubmissionStep.SIGN_IN, 535, "5.7.0 (#AUTH005) Too many bad auth attempts.", YAHOO, "Yahoo"),
        (SubmissionStep.SIGN_IN, 550, "5.7.30 Basic authentication is not supported", MICROSOFT, "Set-CASMailbox"),
        (
            SubmissionStep.SIGN_IN,
            535,
            "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
            MICROSOFT,
            "SmtpClientAuthenticationDisabled $false",
        ),
        (SubmissionStep.SIGN_IN, 535, "5.7.3 Authentication unsuccessful", BY_TOKEN, "An access token was issued, and"),
        (SubmissionStep.SIGN_IN, 535, "5.7.3 Authentication unsuccessful", MICROSOFT, "it requires an access token"),
        (SubmissionStep.SIGN_IN, 535, "5.7.8 Username and Password not accepted", GOOGLES_TOKEN, "has the scope"),
        (SubmissionStep.SIGN_IN, 535, "5.7.8 Error: authentication failed", OUTBOUND, "mailboxes.utama.login"),
        (SubmissionStep.SIGN_IN, 454, "4.7.0 Temporary authentication failure", OUTBOUND, "directory"),
        (
            SubmissionStep.SIGN_IN,
            454,
            "4.7.0 Too many login attempts, please try again later.",
            GMAIL,
            "Wait some minutes",
        ),
        (SubmissionStep.GREETING, 554, "5.7.1 Service unavailable; client blocked", OUTBOUND, "block list"),
        (SubmissionStep.GREETING, 421, "4.7.0 Too many connections", OUTBOUND, "limit"),
        (SubmissionStep.SENDER, 553, "5.7.1 Sender address rejected: not owned by user", OUTBOUND, "Send As"),
        (
            SubmissionStep.RECIPIENT,
            550,
            "5.1.1 User unknown in virtual mailbox table",
            OUTBOUND,
            "the mailbox a@contoh.gov.my does not exist",
        ),
        (SubmissionStep.RECIPIENT, 552, "5.2.2 Mailbox full", OUTBOUND, "is full"),
        (SubmissionStep.RECIPIENT, 554, "5.7.1 Relay access denied", OUTBOUND, "permit_sasl_authenticated"),
        (SubmissionStep.RECIPIENT, 450, "4.7.1 Greylisted, see you in 300 seconds", OUTBOUND, "deferral_timeout"),
        (SubmissionStep.RECIPIENT, 451, "4.7.1 Please try again later", OUTBOUND, "greylists"),
        (
            SubmissionStep.RECIPIENT,
            450,
            "4.2.1 The user is receiving mail at a rate that is too high",
            OUTBOUND,
            "limit",
        ),
        (SubmissionStep.RECIPIENT, 452, "4.2.2 The recipient is over quota", OUTBOUND, "full"),
        (SubmissionStep.MESSAGE, 550, "5.7.26 This mail is unauthenticated: DMARC", OUTBOUND, "SPF"),
        (SubmissionStep.MESSAGE, 554, "5.6.0 content filtered", OUTBOUND, "filter"),
        (SubmissionStep.MESSAGE, 452, "4.3.1 Insufficient system storage", OUTBOUND, "df -h"),
    ],
)
def test_advise_smtp_reply_gives_matching_action(
    step: SubmissionStep, code: int, text: str, of: MonitoredRoute, expected: str
) -> None:
    assert expected in whole(refused(step, code, text, of))


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ("invalid_client: AADSTS7000215: Invalid client secret provided.", "secret"),
        ("invalid_client: AADSTS7000222: The provided client secret keys are expired.", "Certificates & secrets"),
        ("AADSTS65001: The user or administrator has not consented", "Grant admin consent"),
        ("unauthorized_client: AADSTS700016: Application was not found in the directory", "client id"),
        ("invalid_request: AADSTS90002: Tenant not found", "tenant"),
        ("invalid_grant: Token has been expired or revoked.", "refresh token"),
        ("unauthorized_client: Client is unauthorized to retrieve access tokens", "Domain-wide delegation"),
        ("invalid_grant: Invalid email or User ID", "no alias"),
        ("invalid_grant: Invalid JWT Signature.", "private_key_id"),
        (
            "invalid_grant: Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe.",
            "NTP",
        ),
        ("access_denied", "documentation"),
    ],
)
def test_advise_token_refused_explains_provider_code(detail: str, expected: str) -> None:
    assert expected in whole(told(Reason.TOKEN_REFUSED, of=BY_TOKEN, detail=detail))


def test_advise_microsoft_user_not_connected_names_imap_setting() -> None:
    detail = "User is authenticated but not connected."
    advice = told(Reason.MAILBOX_REFUSED, Phase.RETRIEVE, R, Outcome.CONNECT, of=BY_TOKEN, detail=detail)
    assert "ImapEnabled" in whole(advice)


def test_advise_phase_and_login_kind_select_text() -> None:
    assert "our address is blocked" in told(Reason.CONNECTION_CLOSED, Phase.CONNECT, outcome=Outcome.CONNECT).do
    assert "failing or was restarted" in told(Reason.CONNECTION_CLOSED, Phase.SUBMIT, outcome=Outcome.CONNECT).do
    assert (
        "could not open a connection" in told(Reason.MONITORING_FAULT, Phase.CONNECT, outcome=Outcome.INCONCLUSIVE).what
    )
    assert "could not finish" in told(Reason.MONITORING_FAULT, Phase.DATA, outcome=Outcome.INCONCLUSIVE).what
    assert "XOAUTH2" in told(Reason.SIGN_IN_NOT_OFFERED, of=BY_TOKEN).what
    assert "PLAIN" in told(Reason.SIGN_IN_NOT_OFFERED).what


@pytest.mark.parametrize(
    ("port", "security", "reason", "outcome", "phase", "expected"),
    [
        (587, Security.IMPLICIT, Reason.TLS_NOT_SPOKEN, Outcome.TLS, Phase.TLS, "security to starttls"),
        (8465, Security.IMPLICIT, Reason.TLS_NOT_SPOKEN, Outcome.TLS, Phase.TLS, "belongs to security: implicit"),
        (465, Security.STARTTLS, Reason.NO_ANSWER, Outcome.TIMEOUT, Phase.CONNECT, "security to implicit"),
        (25, Security.STARTTLS, Reason.NO_ANSWER, Outcome.CONNECT, Phase.CONNECT, "port 587 or 465"),
        (465, Security.IMPLICIT, Reason.NO_ANSWER, Outcome.CONNECT, Phase.CONNECT, "firewall drops port 465"),
        (587, Security.STARTTLS, Reason.NO_ANSWER, Outcome.TIMEOUT, Phase.DATA, "stopped answering during DATA"),
        (587, Security.STARTTLS, Reason.TLS_NOT_OFFERED, Outcome.TLS, Phase.TLS, "smtpd_tls_security_level"),
        (465, Security.IMPLICIT, Reason.CERTIFICATE_NAME_MISMATCH, Outcome.TLS, Phase.TLS, "not for mel.contoh.gov.my"),
        (465, Security.IMPLICIT, Reason.CERTIFICATE_EXPIRED, Outcome.TLS, Phase.TLS, "renew"),
        (465, Security.IMPLICIT, Reason.CERTIFICATE_UNTRUSTED, Outcome.TLS, Phase.TLS, "mailboxes.utama.ca_file"),
    ],
)
def test_advise_port_and_certificate_names_setting_to_change(  # noqa: PLR0917 - a table
    port: int, security: Security, reason: Reason, outcome: Outcome, phase: Phase, expected: str
) -> None:
    of = with_ends(OUTBOUND, at(OUTBOUND.route.sender, "mel.contoh.gov.my", port, security))
    assert expected in whole(told(reason, phase, S, outcome, of=of))


@pytest.mark.parametrize(
    ("status", "detail", "expected"),
    [
        ("5.1.1", "550 5.1.1 no such user", "no mailbox"),
        ("5.2.2", "552 5.2.2 over quota", "is full"),
        ("5.4.4", "Host or domain name not found", "MX"),
        ("5.4.6", "mail forwarding loop", "mail loop"),
        ("4.4.1", "connection timed out", "could not be reached"),
        ("5.4.7", "delivery time expired", "could not be reached"),
        ("5.7.1", "550 5.7.1 blocked", "policy"),
        ("5.6.1", "conversion not supported", "convert"),
        ("5.3.2", "system not accepting messages", "accepts no messages"),
        (None, "", "came back"),
    ],
)
def test_advise_bounce_is_explained_by_status(status: str | None, detail: str, expected: str) -> None:
    advice = told(Reason.RETURNED, Phase.TRANSIT, R, Outcome.BOUNCED, detail=detail, status=status)
    assert expected in whole(advice)


def test_advise_content_changed_names_change() -> None:
    def changed(detail: str) -> Advice:
        return told(Reason.CONTENT_CHANGED, Phase.RETRIEVE, R, Outcome.CORRUPTED, detail=detail)

    assert "broken non-ASCII characters" in changed("characters outside ASCII changed").what
    assert "attachment cut short" in changed("attachment cut short").what
    assert "text missing" in changed("text missing").what


@pytest.mark.parametrize("reason", [Reason.CONNECTION_CLOSED, Reason.NO_ANSWER])
def test_advise_lost_and_uncertain_messages_differ(reason: Reason) -> None:
    lost = told(Reason.NOT_ARRIVED, Phase.TRANSIT, R, Outcome.LOST)
    assert "no report came back" in lost.what
    assert lost.who == "JCM's mail administrator; then, if the message left there, whoever runs our reference mailbox a"
    assert "it is unknown whether" in told(reason, Phase.SUBMIT, S, Outcome.CONNECT, uncertain=True).what
    assert "it is unknown whether" not in told(reason, Phase.SUBMIT, S, Outcome.CONNECT).what


def test_advise_who_and_setting_follow_failing_side() -> None:
    theirs = told(Reason.PORT_REFUSED, Phase.CONNECT, S, Outcome.CONNECT)
    ours = told(Reason.PORT_REFUSED, Phase.CONNECT, R, Outcome.CONNECT)
    assert theirs.who == "JCM's mail administrator"
    assert ours.who == "whoever runs our reference mailbox a"
    assert "mailboxes.utama.smtp.port in JCM's agency file" in whole(theirs)
    assert "references.a.imap.port in the settings file" in whole(ours)


def test_advise_pooled_reference_names_failing_mailbox() -> None:
    box = replace(OUTBOUND.route.recipient, address="dua@rujukan-a.gov.my", pooled=True)
    of = replace(OUTBOUND, route=replace(OUTBOUND.route, recipient=box))
    found = whole(told(Reason.PORT_REFUSED, Phase.CONNECT, R, Outcome.CONNECT, of=of))
    assert "references.a.pool[dua@rujukan-a.gov.my].imap.port in the settings file" in found


def test_advise_forward_failure_differs_from_mailbox_failure() -> None:
    of = forwarded("JCM")
    advice = told(Reason.COPY_RETURNED, Phase.TRANSIT, R, Outcome.BOUNCED, of=of, detail="550 5.7.1 SPF")
    assert "the forward fails, not the mailbox" in advice.what
    assert "docs/how-to/operator/shared-mailboxes.md" in whole(advice)
    inside = replace(INBOUND, route=replace(INBOUND.route, to="pro@jcm.contoh.gov.my"))
    advice = told(Reason.COPY_RETURNED, Phase.TRANSIT, R, Outcome.BOUNCED, of=inside, detail="552 5.2.2 penuh")
    assert "that mailbox refused it" in advice.what
    assert advice.who == "JCM's mail administrator"
    assert "docs/how-to/operator/shared-mailboxes.md" in whole(advise(of, arrived(of, T0, junk=True)))


#: By step, code and text: who must act, and the advice. From RFC 5321, 3463, 3207, 4954, 5248,
#: 7504 and 7505, and from replies of Google and Exchange Online.
REPLIES = [
    (SubmissionStep.GREETING, 421, "4.3.2 shutting down", "{owner}", "temporarily accepts nothing from anybody"),
    (
        SubmissionStep.GREETING,
        421,
        "4.3.2 The maximum number of concurrent connections has exceeded a limit",
        "{owner}",
        "a limit",
    ),
    (
        SubmissionStep.GREETING,
        421,
        "Service not available, closing channel",
        "{owner}",
        "temporarily accepts nothing from anybody",
    ),
    (SubmissionStep.GREETING, 421, "4.7.0 Try again later", "{owner}", "temporarily accepts no more from us"),
    (SubmissionStep.GREETING, 450, "4.7.1 greylisted", "{owner}", "greylists senders"),
    (SubmissionStep.GREETING, 521, "5.3.2 no mail here", "{owner}", "accepts no mail at all"),
    (SubmissionStep.GREETING, 521, "no mail here", "{owner}", "accepts no mail at all"),
    (SubmissionStep.GREETING, 554, "5.7.1 blocked", "{owner}", "rejected the connection in its greeting"),
    (SubmissionStep.HELLO, 500, "5.5.2 XXXX not recognized", "{owner}", "does not understand EHLO"),
    (SubmissionStep.HELLO, 502, "5.5.1 not implemented", "{owner}", "does not understand EHLO"),
    (SubmissionStep.HELLO, 550, "5.7.1 bad host name", "{owner}", "rejected the connection in its greeting"),
    (SubmissionStep.HELLO, 421, "4.3.2 operator shut it down", "{owner}", "temporarily accepts nothing from anybody"),
    (SubmissionStep.TLS, 454, "4.7.0 TLS not available due to local problem", "{owner}", "cannot read its certificate"),
    (SubmissionStep.TLS, 501, "5.5.4 no parameters allowed", "{owner}", "offers STARTTLS and then rejects it"),
    (SubmissionStep.TLS, 554, "5.7.0 no", "{owner}", "offers STARTTLS and then rejects it"),
    (SubmissionStep.TLS, 421, "4.3.2 closing", "{owner}", "temporarily accepts nothing from anybody"),
    (
        SubmissionStep.SIGN_IN,
        334,
        "AGFudGFyYQByYWhzaWE=",
        "{owner}",
        "sends challenge after challenge during the sign-in",
    ),
    (SubmissionStep.SIGN_IN, 421, "4.3.2 shutting down", "{owner}", "closed the connection during the sign-in"),
    (SubmissionStep.SIGN_IN, 421, "4.7.0 too many sign-ins", "{owner}", "too many sign-ins or sessions"),
    (
        SubmissionStep.SIGN_IN,
        432,
        "4.7.12 A password transition is needed",
        "us: ",
        "changed its authentication backend",
    ),
    (
        SubmissionStep.SIGN_IN,
        454,
        "4.7.0 Temporary authentication failure",
        "{owner}",
        "cannot authenticate anybody at present",
    ),
    (
        SubmissionStep.SIGN_IN,
        454,
        "4.7.0 corporate directory is not there",
        "{owner}",
        "cannot authenticate anybody at present",
    ),
    (SubmissionStep.SIGN_IN, 500, "5.5.6 line too long", "{owner}", "but does not support it"),
    (SubmissionStep.SIGN_IN, 504, "5.5.4 unrecognized type", "{owner}", "but does not support it"),
    (SubmissionStep.SIGN_IN, 525, "5.7.13 user account disabled", "{owner}", "is disabled"),
    (SubmissionStep.SIGN_IN, 535, "5.7.8 wrong", "us: ", "refuses the password"),
    (SubmissionStep.SENDER, 421, "4.3.2 shutting down", "{owner}", "temporarily accepts nothing from anybody"),
    (SubmissionStep.SENDER, 451, "4.3.0 temporary lookup failure", "{owner}", "asks to retry later"),
    (SubmissionStep.SENDER, 452, "4.3.1 insufficient system storage", "{owner}", "no room"),
    (SubmissionStep.SENDER, 530, "5.7.0 Must issue a STARTTLS command first", "{owner}", "asks for a sign-in or TLS"),
    (SubmissionStep.SENDER, 550, "5.4.5 Daily user sending quota exceeded", "{owner}", "has reached its sending limit"),
    (SubmissionStep.SENDER, 550, "5.1.8 domain not found", "{owner}", "as sender: it finds no mail domain"),
    (SubmissionStep.SENDER, 552, "5.2.2 over quota", "{owner}", "a mailbox or a disk is full"),
    (SubmissionStep.SENDER, 553, "5.7.1 not owned by user", "{owner}", "does not let JCM/utama send as"),
    (SubmissionStep.RECIPIENT, 450, "4.2.0 greylisted", "{owner}", "greylists senders"),
    (SubmissionStep.RECIPIENT, 450, "4.2.0 busy", "{owner}", "rejects the message temporarily"),
    (SubmissionStep.RECIPIENT, 451, "4.4.3 name server", "{owner}", "asks to retry later"),
    (SubmissionStep.RECIPIENT, 452, "4.5.3 too many recipients", "{owner}", "temporarily accepts no more from us"),
    (SubmissionStep.RECIPIENT, 550, "5.1.1 unknown", "{owner}", "does not exist"),
    (SubmissionStep.RECIPIENT, 550, "5.2.1 disabled", "{owner}", "is disabled"),
    (SubmissionStep.RECIPIENT, 551, "5.1.6 moved", "{owner}", "does not exist"),
    (SubmissionStep.RECIPIENT, 552, "5.2.2 mailbox full", "{owner}", "is full"),
    (SubmissionStep.RECIPIENT, 554, "5.7.1 Relay access denied", "{owner}", "relaying denied"),
    (SubmissionStep.RECIPIENT, 554, "5.7.1 Client host blocked using zen.spamhaus.org", "{owner}", "by a block list"),
    (SubmissionStep.RECIPIENT, 556, "5.1.10 null MX", "{owner}", "finds no server that accepts mail"),
    (SubmissionStep.MESSAGE, 421, "4.3.2 shutting down", "{owner}", "temporarily accepts nothing from anybody"),
    (
        SubmissionStep.MESSAGE,
        432,
        "4.3.2 sender thread limit exceeded",
        "{owner}",
        "temporarily accepts no more from us",
    ),
    (SubmissionStep.MESSAGE, 452, "4.3.1 disk full", "{owner}", "no room"),
    (SubmissionStep.MESSAGE, 503, "5.5.1 no valid recipients", "{owner}", "did not understand the end"),
    (
        SubmissionStep.MESSAGE,
        550,
        "5.4.5 Daily user sending limit exceeded",
        "{owner}",
        "has reached its sending limit",
    ),
    (SubmissionStep.MESSAGE, 550, "5.7.26 unauthenticated", "{owner}", "SPF, DKIM or DMARC"),
    (
        SubmissionStep.MESSAGE,
        550,
        "5.7.60 no permissions to send as this sender",
        "{owner}",
        "does not let JCM/utama send as",
    ),
    (SubmissionStep.MESSAGE, 552, "5.2.2 over quota", "{owner}", "no room"),
    (SubmissionStep.MESSAGE, 552, "5.3.4 too big", "{owner}", "too large"),
    (SubmissionStep.MESSAGE, 552, "5.7.0 potential security issue", "{owner}", "refused the message for its content"),
    (SubmissionStep.MESSAGE, 554, "5.3.2 not now", "{owner}", "accepts no messages at all"),
    (SubmissionStep.MESSAGE, 554, "5.4.6 too many hops", "{owner}", "reports a mail loop"),
    (SubmissionStep.MESSAGE, 554, "5.7.1 spam", "{owner}", "refused the message for its content"),
]


@pytest.mark.blind
@pytest.mark.parametrize(
    ("step", "code", "text", "who", "what"), REPLIES, ids=[f"{r[0]}-{r[1]}-{r[2]}" for r in REPLIES]
)
def test_advise_smtp_reply_at_each_step_explains_and_names_owner(
    step: SubmissionStep, code: int, text: str, who: str, what: str
) -> None:
    """Defect: 421 4.3.2 is explained as our limit and 454 at STARTTLS as old ciphers.

    Pantau: A table of replies by step says what each means and who can repair it.
    """
    advice = refused(step, code, text)
    assert what in advice.what, advice.what
    assert advice.who.startswith(who.format(owner="JCM's mail administrator"))


@pytest.mark.blind
@pytest.mark.parametrize("step", SubmissionStep)
def test_advise_any_reply_at_any_step_has_text_and_no_password_blame(step: SubmissionStep) -> None:
    """Defect: An unexpected reply is explained as a wrong password.

    Pantau: Every code and status at every step has its advice.
    """
    codes = {code for _, code, *_ in REPLIES} | {200, 235, 250, 299, 354, 400, 459, 499, 511, 538, 550, 559}
    details = [f"{subject}.{detail}" for subject in range(8) for detail in (*range(9), 12, 13, 30)]
    for code in codes:
        for status in ("", *(f"{code // 100}.{detail} " for detail in details)):
            ended = smtp_failure(step, code, f"{status}kata pelayan")
            advice = refused(step, code, f"{status}kata pelayan")
            assert advice.what
            assert "{" not in whole(advice)
            if step is not SubmissionStep.SIGN_IN:
                assert ended.outcome is not Outcome.AUTH
                assert "password" not in advice.what


@pytest.mark.blind
def test_advise_incomplete_answer_is_not_called_silence() -> None:
    """Defect: The advice blames silence when a reply is too short for TLS.

    Pantau: It names what may be the cause.
    """
    begun = told(Reason.NO_ANSWER, Phase.AUTH, S, Outcome.TIMEOUT, detail="812 octets of an answer without an end")
    assert "began a reply during the sign-in, and did not complete it" in begun.what
    flood = told(Reason.UNEXPECTED_ANSWER, Phase.CONNECT, S, Outcome.CONNECT, detail="Response too long")
    assert "does not end its reply" in flood.what
    unspoken = told(Reason.NO_ANSWER, Phase.TLS, S, Outcome.TIMEOUT)
    assert "or too little for TLS" in unspoken.what


def test_advise_lost_forwarded_message_names_public_address() -> None:
    advice = told(Reason.NOT_ARRIVED, Phase.TRANSIT, R, Outcome.LOST, of=forwarded("JCM"))
    assert "Check whether it is in pro@jcm.contoh.gov.my" in advice.do
    assert advice.who == "JCM's mail administrator"


@pytest.mark.blind
@pytest.mark.parametrize(
    ("folder", "written"),
    [
        ("E-mel Remeh", "[E-mel Remeh]"),
        ("INBOX.Spam", "[INBOX.Spam]"),
        ("迷惑メール", '["迷惑メール"]'),
        ("Junk, lama", '["Junk, lama"]'),
        ("no", '["no"]'),
        ("2026", '["2026"]'),
        ('"petik"', '["\\"petik\\""]'),
    ],
)
def test_advise_unwatched_folder_gives_yaml_setting(folder: str, written: str) -> None:
    """Defect: Mail in an unconfigured junk folder has no advice.

    Pantau: The advice names the key to set, in YAML form.
    """
    advice = told(Reason.FOLDER_NOT_WATCHED, Phase.RETRIEVE, R, Outcome.JUNK, of=OUTBOUND, detail=folder)
    assert f"references.a.junk_folders: {written}" in advice.do
    assert yaml.safe_load(written) == [folder]


@pytest.mark.blind
def test_advise_pop3_not_arrived_explains_hidden_junk_folder() -> None:
    """Defect: POP3 hides the junk folder without a word.

    Pantau: Who reads by POP3 is told so.
    """
    recipient = OUTBOUND.route.recipient
    of = replace(OUTBOUND, route=replace(OUTBOUND.route, recipient=replace(recipient, imap=None, pop3=recipient.imap)))
    assert "POP3 shows no folder but the inbox" in told(Reason.NOT_ARRIVED, Phase.TRANSIT, R, Outcome.LOST, of=of).do


def test_advise_arrived_good_slow_and_junk_differ() -> None:
    assert "works" in advise(OUTBOUND, arrived(OUTBOUND, T0)).what
    slow = advise(OUTBOUND, arrived(OUTBOUND, T0, timedelta(seconds=90)))
    assert "took 90 s; more than 60 s is slow" in slow.what
    assert "in the junk folder" in advise(OUTBOUND, arrived(OUTBOUND, T0, junk=True)).what


@pytest.mark.blind
def test_advise_message_unacknowledged_or_acknowledged_late_is_not_good() -> None:
    """Defect: The advice for an unacknowledged message is that nothing is to be done.

    Pantau: It says what people see, and where to look.
    """
    came = arrived(OUTBOUND, T0)
    unanswered = advise(OUTBOUND, replace(came, uncertain=True))
    late = advise(OUTBOUND, replace(came, phases={**came.phases, Phase.DATA: timedelta(seconds=17)}))
    for advice in (unanswered, late):
        assert "people send again" in advice.what
        assert advice.who == "JCM's mail administrator"
        assert any("milter" in step for step in advice.steps)
    assert "did not confirm that it accepted the message (after 1.0 s)" in unanswered.what
    assert "took 17 s to accept the message, more than 15 s" in late.what


def test_advise_unknown_reason_is_quoted() -> None:
    advice = told("the moon is full", Phase.SUBMIT, S, Outcome.REJECTED)
    assert "the moon is full" in advice.what
    assert "--verbose" in advice.do
