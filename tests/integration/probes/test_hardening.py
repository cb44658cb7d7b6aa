"""Hardening check at a real Postfix and Dovecot, and at servers that refuse nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

import pytest

from probes.kinds.hardening import KIND, HardeningCheck
from probes.model.check import CheckScope, Finding, Verdict
from probes.model.egress import AllowedNetwork, EgressPolicy
from probes.model.mailbox import AccessTokens, Mailbox, OAuth, Password, Security, Server
from tests.integration.probes.mx_host import MxHost
from tests.real.mailserver import Listener, MailServer
from tests.real.nameserver import NameServer
from tests.unit.probes.standin import Handler, ImapStandIn, SmtpStandIn, hosts, listening, server, server_context

pytestmark = pytest.mark.real

OURS = "semakan@rujukan.example"


async def findings_of(check_scope: CheckScope, port: int = 1) -> tuple[Finding, ...]:
    async with asyncio.timeout(60):
        findings = await HardeningCheck(check_scope, lambda: datetime.now(UTC), port=port).run()
    assert {one.aspect for one in findings} <= set(KIND.aspects)
    return findings


def check_scope_of(
    name_server: NameServer,
    *mailboxes: Mailbox,
    domains: tuple[str, ...] = (),
    ours: str = OURS,
    egress: EgressPolicy | None = None,
) -> CheckScope:
    return CheckScope(
        agency="JCM",
        mailboxes=mailboxes,
        domains=domains,
        name_servers=name_server.validating,
        our_address=ours,
        egress=egress,
    )


def box(*, smtp: Server | None = None, imap: Server | None = None, pop3: Server | None = None) -> Mailbox:
    login = Password(username="semakan@jabatan-contoh.gov.my", secret="rahsia-sebenar")
    return Mailbox(name="jabatan-contoh", address=login.username, login=login, smtp=smtp, imap=imap, pop3=pop3)


def verdicts(findings: Sequence[Finding]) -> dict[tuple[str, str], Verdict]:
    return {(one.aspect, one.subject): one.verdict for one in findings}


def test_hardening_check_is_opt_in_and_daily() -> None:
    assert KIND.opt_in
    assert KIND.interval.days == 1


async def test_hardening_real_postfix_and_dovecot_verdicts(name_server: NameServer, mail_server: MailServer) -> None:
    mailbox = mail_server.mailbox("semakan", smtp=Listener.SUBMISSION, imap=Listener.IMAP)
    findings = await findings_of(check_scope_of(name_server, mailbox))
    smtp, imap = (f"localhost:{mail_server.ports[door]}" for door in (Listener.SUBMISSION, Listener.IMAP))
    assert verdicts(findings) == {
        ("clear-sign-in", smtp): Verdict.PASS,
        ("relay", smtp): Verdict.PASS,
        # Dovecot allows clear text from its own machine, which we are here.
        ("clear-sign-in", imap): Verdict.FAIL,
        ("wrong-password", mailbox.name): Verdict.PASS,
    }


async def test_hardening_real_dovecot_refuses_wrong_password_over_imap(
    name_server: NameServer, mail_server: MailServer
) -> None:
    mailbox = mail_server.mailbox("semakan", imap=Listener.IMAPS)
    reader = Mailbox(name="pembaca", address=mailbox.address, login=mailbox.login, imap=mailbox.imap)
    (finding,) = await findings_of(check_scope_of(name_server, reader))
    assert (finding.aspect, finding.verdict) == ("wrong-password", Verdict.PASS)


# -- sign-in without TLS ----------------------------------------------------------------------------------------------


async def pop3_accepting_user(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"+OK sedia\r\n")
    while line := (await reader.readline()).decode().strip().upper():
        if line == "CAPA":
            writer.write(b"+OK\r\nSTLS\r\n.\r\n")
        elif line.startswith("AUTH"):
            writer.write(b"-ERR tidak\r\n")
        else:
            writer.write(b"+OK\r\n")


async def pop3_requiring_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"+OK sedia\r\n")
    while line := (await reader.readline()).decode().strip().upper():
        writer.write(
            b"+OK\r\nSTLS\r\n.\r\n" if line == "CAPA" else b"+OK\r\n" if line == "QUIT" else b"-ERR TLS dahulu\r\n"
        )


async def challenge_until_cancelled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"+ \r\n")
    assert (await reader.readline()).strip() == b"*"
    writer.write(b"p2 BAD dibatalkan\r\n")


_LISTENING_SMTP = SmtpStandIn(extensions=("STARTTLS",), tricks={"AUTH": "334 \r\n", "*": "501 5.0.0 baik\r\n"})


@pytest.mark.parametrize(
    ("protocol", "standin", "verdict", "told"),
    [
        ("smtp", SmtpStandIn(extensions=("STARTTLS", "AUTH PLAIN LOGIN")), Verdict.FAIL, "offers LOGIN, PLAIN"),
        ("smtp", _LISTENING_SMTP, Verdict.FAIL, "accepts AUTH LOGIN"),
        ("smtp", SmtpStandIn(extensions=("AUTH SCRAM-SHA-256",), tricks={"AUTH": "504 tiada\r\n"}), Verdict.PASS, ""),
        ("imap", ImapStandIn(), Verdict.FAIL, "offers LOGIN"),
        (
            "imap",
            ImapStandIn(
                capabilities="IMAP4rev1 LOGINDISABLED",
                tricks={"AUTHENTICATE": challenge_until_cancelled},
            ),
            Verdict.FAIL,
            "accepts AUTHENTICATE LOGIN",
        ),
        (
            "imap",
            ImapStandIn(capabilities="IMAP4rev1 LOGINDISABLED", tricks={"AUTHENTICATE": "{tag} NO TLS dahulu\r\n"}),
            Verdict.PASS,
            "",
        ),
        ("pop3", pop3_accepting_user, Verdict.FAIL, "accepts USER"),
        ("pop3", pop3_requiring_tls, Verdict.PASS, ""),
    ],
)
async def test_hardening_clear_text_sign_in_verdict(
    name_server: NameServer, protocol: str, standin: Handler, *, verdict: Verdict, told: str
) -> None:
    async with listening(standin) as port:
        mailbox = box(**{protocol: server(port, Security.STARTTLS)})
        findings = await findings_of(check_scope_of(name_server, mailbox, ours=""))
    (finding,) = [one for one in findings if one.aspect == "clear-sign-in"]
    assert finding.verdict is verdict, finding.detail
    assert told in finding.detail


async def test_hardening_sends_no_secret_in_clear_text(name_server: NameServer) -> None:
    smtp = SmtpStandIn(extensions=("STARTTLS",), tricks={"AUTH": "334 \r\n", "*": "501 5.0.0 baik\r\n"})
    async with listening(smtp) as port:
        await findings_of(check_scope_of(name_server, box(smtp=server(port, Security.STARTTLS))))
    said = " ".join(smtp.asked)
    assert "AUTH LOGIN" in said
    # It was cancelled, and neither a user name nor a password was sent.
    assert "*" in smtp.asked
    for secret in ("rahsia", "semakan@jabatan", "c2VtYWthb", "cmFoc2lh"):
        assert secret not in said


async def test_hardening_implicit_tls_server_skips_clear_text_sign_in(name_server: NameServer) -> None:
    async with listening(SmtpStandIn(), server_context()) as port:
        findings = await findings_of(check_scope_of(name_server, box(smtp=server(port))))
    assert "clear-sign-in" not in {one.aspect for one in findings}


# -- open relays ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tricks", "verdict"),
    [
        ({}, Verdict.FAIL),
        ({"RCPT": "554 5.7.1 Relay access denied\r\n"}, Verdict.PASS),
        ({"MAIL": "530 5.7.0 Authentication required\r\n"}, Verdict.PASS),
        ({"RCPT": "450 4.7.1 nanti\r\n"}, Verdict.UNKNOWN),
    ],
)
async def test_hardening_relay_verdict_at_submission(
    name_server: NameServer, tricks: dict[str, str], verdict: Verdict
) -> None:
    smtp = SmtpStandIn(tricks=dict(tricks))
    async with listening(smtp, server_context()) as port:
        findings = await findings_of(check_scope_of(name_server, box(smtp=server(port))))
    assert verdicts(findings)["relay", f"127.0.0.1:{port}"] is verdict
    assert not any(line.startswith(("DATA", "BDAT")) for line in smtp.asked)
    assert smtp.taken == []


async def test_hardening_mx_hosts_are_tried(name_server: NameServer) -> None:
    name_server.add("geganti.gov.my", "MX", "10 mx1.geganti.gov.my.", "20 mx2.geganti.gov.my.")
    name_server.add("mx1.geganti.gov.my", "A", "127.0.0.2")
    name_server.add("mx2.geganti.gov.my", "A", "127.0.0.3")
    good = MxHost(answers={"RCPT": "554 5.7.1 Relay access denied"})
    insecure = MxHost(extensions=("AUTH PLAIN",))
    async with hosts({"127.0.0.2": good, "127.0.0.3": insecure}) as port:
        findings = await findings_of(check_scope_of(name_server, domains=("geganti.gov.my",)), port)
    assert verdicts(findings) == {
        ("clear-sign-in", "mx1.geganti.gov.my [127.0.0.2]"): Verdict.PASS,
        ("relay", "mx1.geganti.gov.my [127.0.0.2]"): Verdict.PASS,
        ("clear-sign-in", "mx2.geganti.gov.my [127.0.0.3]"): Verdict.FAIL,
        ("relay", "mx2.geganti.gov.my [127.0.0.3]"): Verdict.FAIL,
    }
    assert not any(line.startswith("DATA") for line in good.asked + insecure.asked)


async def test_hardening_mx_host_outside_egress_policy_is_not_tried(name_server: NameServer) -> None:
    name_server.add("dalaman.gov.my", "MX", "10 mx1.dalaman.gov.my.", "20 mx2.dalaman.gov.my.")
    name_server.add("mx1.dalaman.gov.my", "A", "127.0.0.2")
    name_server.add("mx2.dalaman.gov.my", "A", "127.0.0.3")
    opened, inside = MxHost(answers={"RCPT": "554 5.7.1 tidak"}), MxHost()
    async with hosts({"127.0.0.2": opened, "127.0.0.3": inside}) as port:
        egress = EgressPolicy(exceptions=(AllowedNetwork.read(f"127.0.0.2:{port}"),), ports=frozenset({port}))
        findings = await findings_of(check_scope_of(name_server, domains=("dalaman.gov.my",), egress=egress), port)
    assert verdicts(findings) == {
        ("clear-sign-in", "mx1.dalaman.gov.my [127.0.0.2]"): Verdict.PASS,
        ("relay", "mx1.dalaman.gov.my [127.0.0.2]"): Verdict.PASS,
        ("clear-sign-in", "mx2.dalaman.gov.my [127.0.0.3]"): Verdict.UNKNOWN,
        ("relay", "mx2.dalaman.gov.my [127.0.0.3]"): Verdict.UNKNOWN,
    }
    told = {one.detail for one in findings if one.verdict is Verdict.UNKNOWN}
    assert all("this machine itself" in each for each in told), told
    assert inside.connections == 0


async def test_hardening_mx_host_of_own_mail_is_unknown_as_relay(name_server: NameServer) -> None:
    name_server.add("sewa-sama.gov.my", "MX", "10 aspmx.pembekal.example.")
    name_server.add("aspmx.pembekal.example", "A", "127.0.0.2")
    name_server.add("kami.example", "MX", "10 lain.pembekal.example.")
    check_scope = check_scope_of(name_server, domains=("sewa-sama.gov.my",), ours="semakan@kami.example")
    async with hosts({"127.0.0.2": MxHost()}) as port:
        findings = await findings_of(check_scope, port)
    assert verdicts(findings)["relay", "aspmx.pembekal.example [127.0.0.2]"] is Verdict.UNKNOWN


@pytest.mark.parametrize("ours", ["", "semakan@tujuan.gov.my"])
async def test_hardening_without_external_address_relay_is_unknown(name_server: NameServer, ours: str) -> None:
    smtp = SmtpStandIn()
    async with listening(smtp, server_context()) as port:
        check_scope = check_scope_of(name_server, box(smtp=server(port)), domains=("tujuan.gov.my",), ours=ours)
        findings = await findings_of(check_scope)
    assert verdicts(findings)["relay", f"127.0.0.1:{port}"] is Verdict.UNKNOWN
    assert not any(line.startswith("RCPT") for line in smtp.asked)


# -- wrong passwords --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("standin", "verdict"),
    [
        (SmtpStandIn(), Verdict.FAIL),
        (SmtpStandIn(tricks={"AUTH": "535 5.7.8 salah\r\n"}), Verdict.PASS),
        (SmtpStandIn(tricks={"AUTH": "454 4.7.0 tidak dapat diperiksa\r\n"}), Verdict.UNKNOWN),
        (SmtpStandIn(extensions=("AUTH XOAUTH2",)), Verdict.UNKNOWN),
    ],
)
async def test_hardening_wrong_password_verdict_over_smtp(
    name_server: NameServer, standin: SmtpStandIn, verdict: Verdict
) -> None:
    async with listening(standin, server_context()) as port:
        findings = await findings_of(check_scope_of(name_server, box(smtp=server(port)), ours=""))
    assert verdicts(findings)["wrong-password", "jabatan-contoh"] is verdict


async def test_hardening_account_is_tried_once_and_without_real_password(name_server: NameServer) -> None:
    smtp = SmtpStandIn(extensions=("AUTH LOGIN",), tricks={"AUTH": "535 5.7.8 salah\r\n"})
    imap = ImapStandIn()
    async with listening(smtp, server_context()) as first, listening(imap, server_context()) as second:
        mailbox = box(smtp=server(first), imap=server(second))
        await findings_of(check_scope_of(name_server, mailbox, mailbox, ours=""))
    assert [line for line in smtp.asked if line.startswith("AUTH")] == ["AUTH LOGIN"]
    assert not any("LOGIN" in line for line in imap.asked)


async def test_hardening_any_password_accepted_over_imap_or_pop3_fails(name_server: NameServer) -> None:
    async with (
        listening(ImapStandIn(), server_context()) as imap,
        listening(pop3_accepting_user, server_context()) as pop3,
    ):
        over_imap = await findings_of(check_scope_of(name_server, box(imap=server(imap))))
        over_pop3 = await findings_of(check_scope_of(name_server, box(pop3=server(pop3))))
    for findings in (over_imap, over_pop3):
        assert verdicts(findings) == {("wrong-password", "jabatan-contoh"): Verdict.FAIL}


async def test_hardening_untrusted_tls_receives_no_password(name_server: NameServer) -> None:
    smtp = SmtpStandIn()
    async with listening(smtp, server_context("lain.gov.my")) as port:
        findings = await findings_of(check_scope_of(name_server, box(smtp=server(port)), ours=""))
    assert verdicts(findings)["wrong-password", "jabatan-contoh"] is Verdict.UNKNOWN
    assert smtp.asked == []


async def test_hardening_token_mailbox_wrong_password_is_unknown(name_server: NameServer) -> None:
    login = OAuth(username="semakan", tokens=cast(AccessTokens, None))
    mailbox = Mailbox(name="awan", address="semakan@awan.gov.my", login=login, imap=server(1))
    (finding,) = await findings_of(check_scope_of(name_server, mailbox))
    assert finding.verdict is Verdict.UNKNOWN
    assert "access tokens" in finding.detail
