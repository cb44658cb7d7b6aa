"""MX check at real name servers: each address of each host."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from probes.domain.mta_sts import PolicyServer
from probes.kinds.mx import KIND, MxCheck
from probes.model.check import CheckScope, Finding, Verdict
from probes.model.egress import AllowedNetwork, EgressPolicy
from probes.model.mailbox import Mailbox, Password, Security
from probes.preauth.callout import TlsResult, make_callout
from tests.integration.probes.mx_host import MxHost
from tests.real.mailserver import HOST, Listener, MailServer
from tests.real.nameserver import DELEGATED_UNSIGNED, NameServer
from tests.unit.probes.standin import Handler, hang, hosts, listening, server

pytestmark = pytest.mark.real

OURS = "semakan@rujukan.example"
_AUTHORITY = trustme.CA()


def context(name: str, *, authority: trustme.CA = _AUTHORITY, days: int = 300) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, not_after=datetime.now(UTC) + timedelta(days=days)).configure_cert(made)
    return made


def trust() -> ssl.SSLContext:
    made = ssl.create_default_context()
    _AUTHORITY.configure_trust(made)
    return made


async def findings_of(
    name_server: NameServer,
    port: int,
    *domains: str,
    ours: str = OURS,
    web: PolicyServer | None = None,
    tls: ssl.SSLContext | None = None,
    egress: EgressPolicy | None = None,
) -> tuple[Finding, ...]:
    login = Password(username="semakan", secret="rahsia")
    boxes = tuple(Mailbox(name=one, address=f"semakan@{one}", login=login) for one in domains)
    check_scope = CheckScope(
        agency="JCM",
        mailboxes=boxes,
        domains=domains,
        name_servers=name_server.validating,
        our_address=ours,
        egress=egress,
    )
    check = MxCheck(
        check_scope, lambda: datetime.now(UTC), port=port, tls=tls or trust(), policy_server=web or PolicyServer(port=1)
    )
    async with asyncio.timeout(60):
        findings = await check.run()
    assert {one.aspect for one in findings} <= set(KIND.aspects)
    assert len({(one.aspect, one.subject) for one in findings}) == len(findings)
    return findings


def of(findings: Sequence[Finding], subject: str) -> dict[str, Finding]:
    return {one.aspect: one for one in findings if one.subject == subject}


def verdicts(findings: Sequence[Finding], subject: str) -> dict[str, Verdict]:
    return {aspect: finding.verdict for aspect, finding in of(findings, subject).items()}


ALL_PASS = dict.fromkeys(("connect", "starttls", "certificate", "recipient"), Verdict.PASS)
NOT_CONNECTED = dict.fromkeys(("starttls", "certificate", "recipient"), Verdict.UNKNOWN)


async def test_mx_each_address_of_each_host_is_called(name_server: NameServer) -> None:
    name_server.add("dua.gov.my", "MX", "10 mx1.dua.gov.my.", "20 mx2.dua.gov.my.")
    name_server.add("mx1.dua.gov.my", "A", "127.0.0.2")
    name_server.add("mx1.dua.gov.my", "AAAA", "::1")
    name_server.add("mx2.dua.gov.my", "A", "127.0.0.3")
    first, over_ipv6 = MxHost(tls=context("mx1.dua.gov.my")), MxHost(tls=context("mx1.dua.gov.my"))
    async with hosts({"127.0.0.2": first, "::1": over_ipv6}) as port:
        findings = await findings_of(name_server, port, "dua.gov.my")
    assert verdicts(findings, "dua.gov.my") == {"records": Verdict.PASS}
    assert verdicts(findings, "mx1.dua.gov.my [127.0.0.2]") == ALL_PASS
    assert verdicts(findings, "mx1.dua.gov.my [::1]") == ALL_PASS
    # The other host answered, so port 25 is not blocked here.
    assert verdicts(findings, "mx2.dua.gov.my [127.0.0.3]") == {"connect": Verdict.FAIL} | NOT_CONNECTED
    assert "port refused" in of(findings, "mx2.dua.gov.my [127.0.0.3]")["connect"].detail


async def test_mx_callout_sends_envelope_and_no_message(name_server: NameServer) -> None:
    add_host(name_server, "sopan.gov.my")
    host = MxHost(tls=context("mx.sopan.gov.my"))
    async with hosts({"127.0.0.2": host}) as port:
        await findings_of(name_server, port, "sopan.gov.my")
    assert host.asked == [
        "EHLO [127.0.0.1]",
        "STARTTLS",
        "EHLO [127.0.0.1]",
        f"MAIL FROM:<{OURS}>",
        "RCPT TO:<semakan@sopan.gov.my>",
        "RSET",
        "QUIT",
    ]
    assert not host.client_spoke_early
    assert host.connections == 1


async def test_mx_host_outside_egress_policy_is_not_called(name_server: NameServer) -> None:
    name_server.add("luar.gov.my", "MX", "10 mx.luar.gov.my.")
    name_server.add("mx.luar.gov.my", "A", "127.0.0.2", "127.0.0.3")
    opened, inside = MxHost(tls=context("mx.luar.gov.my")), MxHost(tls=context("mx.luar.gov.my"))
    async with hosts({"127.0.0.2": opened, "127.0.0.3": inside}) as port:
        egress = EgressPolicy(exceptions=(AllowedNetwork.read(f"127.0.0.2:{port}"),), ports=frozenset({port}))
        findings = await findings_of(name_server, port, "luar.gov.my", egress=egress)
    assert verdicts(findings, "mx.luar.gov.my [127.0.0.2]") == ALL_PASS
    assert verdicts(findings, "mx.luar.gov.my [127.0.0.3]") == {"connect": Verdict.UNKNOWN} | NOT_CONNECTED
    told = of(findings, "mx.luar.gov.my [127.0.0.3]")["connect"].detail
    assert told == "we do not connect there: it is this machine itself"
    assert inside.connections == 0


def add_host(name_server: NameServer, domain: str, address: str = "127.0.0.2") -> str:
    name_server.add(domain, "MX", f"10 mx.{domain}.")
    name_server.add(f"mx.{domain}", "A", address)
    return f"mx.{domain} [{address}]"


async def test_mx_without_own_address_asks_for_no_recipient(name_server: NameServer) -> None:
    subject = add_host(name_server, "tanpa-kami.gov.my")
    host = MxHost(tls=context("mx.tanpa-kami.gov.my"))
    async with hosts({"127.0.0.2": host}) as port:
        findings = await findings_of(name_server, port, "tanpa-kami.gov.my", ours="")
    assert verdicts(findings, subject)["recipient"] is Verdict.UNKNOWN
    assert not any(line.startswith(("MAIL", "RCPT")) for line in host.asked)


# -- records ----------------------------------------------------------------------------------------------------------


async def test_mx_records_verdict(name_server: NameServer) -> None:
    name_server.add("tolakmel.gov.my", "MX", "0 .")
    name_server.add("tanpamx.gov.my", "A", "127.0.0.2")
    name_server.add("tanpatuan.gov.my", "MX", "10 tiada.tanpatuan.gov.my.")
    name_server.add("setinggan.gov.my", "MX", "10 tiada.tanpatuan.gov.my.")
    name_server.add("alias.gov.my", "MX", "10 mx.alias.gov.my.")
    name_server.add("mx.alias.gov.my", "CNAME", "asal.alias.gov.my.")
    name_server.add("asal.alias.gov.my", "A", "127.0.0.2")
    domains = (
        "tolakmel.gov.my",
        "tanpamx.gov.my",
        "tanpatuan.gov.my",
        "setinggan.gov.my",
        "alias.gov.my",
        "tiada.gov.my",
    )
    async with hosts({"127.0.0.2": MxHost()}) as port:
        findings = await findings_of(name_server, port, *domains)
    told = {one.subject: (one.verdict, one.detail) for one in findings if one.aspect == "records"}
    assert {subject: verdict for subject, (verdict, _) in told.items()} == {
        "tolakmel.gov.my": Verdict.PASS,
        "tanpamx.gov.my": Verdict.WARN,
        "tanpatuan.gov.my": Verdict.PASS,
        "setinggan.gov.my": Verdict.PASS,
        "tiada.tanpatuan.gov.my": Verdict.FAIL,
        "alias.gov.my": Verdict.PASS,
        "mx.alias.gov.my": Verdict.WARN,
        "tiada.gov.my": Verdict.FAIL,
    }
    assert "null MX" in told["tolakmel.gov.my"][1]
    assert {one.subject for one in findings if one.aspect == "connect"} == {
        "tanpamx.gov.my [127.0.0.2]",
        "mx.alias.gov.my [127.0.0.2]",
    }


async def test_mx_host_of_two_domains_is_called_once_for_both(name_server: NameServer) -> None:
    subject = add_host(name_server, "satu.gov.my")
    name_server.add("kedua.gov.my", "MX", "5 mx.satu.gov.my.")
    host = MxHost(answers={"RCPT TO:<SEMAKAN@KEDUA.GOV.MY>": "550 5.1.1 tiada"})
    async with hosts({"127.0.0.2": host}) as port:
        findings = await findings_of(name_server, port, "satu.gov.my", "kedua.gov.my")
    assert host.connections == 1
    finding = of(findings, subject)["recipient"]
    assert finding.verdict is Verdict.FAIL
    assert "semakan@kedua.gov.my" in finding.detail


# -- their fault, or ours ---------------------------------------------------------------------------------------------


async def test_mx_blocked_port_is_unknown(name_server: NameServer) -> None:
    subject = add_host(name_server, "terhalang.gov.my", "127.0.0.9")
    async with hosts({"127.0.0.4": MxHost()}) as port:
        findings = await findings_of(name_server, port, "terhalang.gov.my", ours="semakan@tiada.example")
    assert verdicts(findings, subject) == {"connect": Verdict.UNKNOWN} | NOT_CONNECTED
    assert "port 25 seems blocked here" in of(findings, subject)["connect"].detail


async def test_mx_own_host_answering_proves_port_open(name_server: NameServer) -> None:
    subject = add_host(name_server, "rebah.gov.my", "127.0.0.9")
    name_server.add("ujidiri.example", "MX", "10 mx.ujidiri.example.")
    name_server.add("mx.ujidiri.example", "A", "127.0.0.5")
    own_host = MxHost()
    async with hosts({"127.0.0.5": own_host}) as port:
        findings = await findings_of(name_server, port, "rebah.gov.my", ours="semakan@ujidiri.example")
    assert verdicts(findings, subject) == {"connect": Verdict.FAIL} | NOT_CONNECTED
    assert not any(line.startswith("MAIL") for line in own_host.asked)


async def test_mx_ipv4_answer_does_not_prove_ipv6(name_server: NameServer) -> None:
    subject = add_host(name_server, "enam.gov.my")
    name_server.add("mx.enam.gov.my", "AAAA", "::1")
    async with hosts({"127.0.0.2": MxHost()}) as port:
        findings = await findings_of(name_server, port, "enam.gov.my", ours="semakan@tiada.example")
    assert of(findings, subject)["connect"].verdict is Verdict.PASS
    assert of(findings, "mx.enam.gov.my [::1]")["connect"].verdict is Verdict.UNKNOWN


async def test_mx_silent_name_servers_is_unknown(name_server: NameServer) -> None:
    check_scope = CheckScope(agency="JCM", mailboxes=(), domains=("dua.gov.my",), name_servers=name_server.silent)
    (finding,) = await KIND.build(check_scope, lambda: datetime.now(UTC)).run()
    assert (finding.aspect, finding.verdict) == ("records", Verdict.UNKNOWN)


# -- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "verdict", "told"),
    [
        (MxHost(greeting="421 4.3.2 sibuk\r\n"), Verdict.WARN, "refuses temporarily"),
        (MxHost(greeting="554 tiada khidmat\r\n"), Verdict.FAIL, "refuses all clients"),
        (MxHost(greeting="554 5.7.1 alamat anda disenarai\r\n"), Verdict.UNKNOWN, "refuses only us"),
        (MxHost(greeting="SSH-2.0-x\r\n"), Verdict.FAIL, "unexpected answer"),
    ],
)
async def test_mx_greeting_verdict(name_server: NameServer, host: MxHost, verdict: Verdict, told: str) -> None:
    subject = add_host(name_server, "salam.gov.my")
    name_server.add("salam2.gov.my", "MX", "10 mx.salam2.gov.my.")
    name_server.add("mx.salam2.gov.my", "A", "127.0.0.3")
    async with hosts({"127.0.0.2": host, "127.0.0.3": MxHost()}) as port:
        findings = await findings_of(name_server, port, "salam.gov.my", "salam2.gov.my")
    finding = of(findings, subject)["connect"]
    assert finding.verdict is verdict
    assert told in finding.detail


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ({"RCPT": "450 4.2.0 greylisted"}, Verdict.WARN),
        ({"RCPT": "550 5.1.1 tiada pengguna"}, Verdict.FAIL),
        ({"RCPT": "554 5.7.1 Relay access denied"}, Verdict.FAIL),
        ({"RCPT": "550 5.7.23 SPF validation failed"}, Verdict.UNKNOWN),
        ({"MAIL": "451 4.7.1 nanti"}, Verdict.WARN),
    ],
)
async def test_mx_recipient_verdict(name_server: NameServer, answers: dict[str, str], verdict: Verdict) -> None:
    subject = add_host(name_server, "alamat.gov.my")
    async with hosts({"127.0.0.2": MxHost(answers=answers)}) as port:
        findings = await findings_of(name_server, port, "alamat.gov.my")
    assert of(findings, subject)["recipient"].verdict is verdict


async def test_mx_host_closing_after_greeting_passes_connect(name_server: NameServer) -> None:
    subject = add_host(name_server, "gantung.gov.my")

    async def greet_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        await reader.readline()

    async with hosts({"127.0.0.2": greet_and_close}) as port:
        findings = await findings_of(name_server, port, "gantung.gov.my")
    assert of(findings, subject)["connect"].verdict is Verdict.PASS
    assert "broke off" in of(findings, subject)["recipient"].detail


# -- TLS --------------------------------------------------------------------------------------------------------------


async def tls_of(name_server: NameServer, domain: str, host: Handler, web: PolicyServer | None = None) -> Finding:
    subject = add_host(name_server, domain)
    async with hosts({"127.0.0.2": host}) as port:
        findings = await findings_of(name_server, port, domain, web=web)
    assert of(findings, subject)["recipient"].verdict is Verdict.PASS, "mail is delivered all the same"
    return of(findings, subject)["certificate"]


async def test_mx_starttls_not_offered_leaves_certificate_unknown(name_server: NameServer) -> None:
    subject = add_host(name_server, "terang.gov.my")
    async with hosts({"127.0.0.2": MxHost()}) as port:
        findings = await findings_of(name_server, port, "terang.gov.my")
    told = verdicts(findings, subject)
    assert (told["starttls"], told["certificate"]) == (Verdict.WARN, Verdict.UNKNOWN)


async def test_mx_starttls_refused_fails_and_recipient_is_asked_in_clear(
    name_server: NameServer,
) -> None:
    subject = add_host(name_server, "mungkir.gov.my")
    host = MxHost(tls=context("mx.mungkir.gov.my"), answers={"STARTTLS": "454 4.7.0 tidak sekarang"})
    async with hosts({"127.0.0.2": host}) as port:
        findings = await findings_of(name_server, port, "mungkir.gov.my")
    told = of(findings, subject)
    assert told["starttls"].verdict is Verdict.FAIL
    assert "454 4.7.0" in told["starttls"].detail
    assert told["recipient"].verdict is Verdict.PASS


@pytest.mark.parametrize(
    ("name", "authority", "days", "verdict", "told"),
    [
        ("lain.gov.my", _AUTHORITY, 300, Verdict.WARN, "other servers still deliver"),
        (None, trustme.CA(), 300, Verdict.WARN, "it is not trusted"),
        (None, _AUTHORITY, -1, Verdict.WARN, "certificate has expired"),
        (None, _AUTHORITY, 10, Verdict.WARN, "renew it 21 days ahead"),
        (None, _AUTHORITY, 300, Verdict.PASS, "trusted, valid until"),
    ],
)
async def test_mx_certificate_verdict_between_servers(
    name_server: NameServer, *, name: str | None, authority: trustme.CA, days: int, verdict: Verdict, told: str
) -> None:
    made = context(name or "mx.sijil.gov.my", authority=authority, days=days)
    finding = await tls_of(name_server, "sijil.gov.my", MxHost(tls=made))
    assert finding.verdict is verdict
    assert told in finding.detail
    assert finding.expires_at is not None


@pytest.mark.parametrize(("matches", "verdict"), [(True, Verdict.PASS), (False, Verdict.FAIL)])
async def test_mx_tlsa_record_decides_instead_of_authority(
    name_server: NameServer, *, matches: bool, verdict: Verdict
) -> None:
    domain = "dane-betul.gov.my" if matches else "dane-salah.gov.my"
    certificate = trustme.CA().issue_cert("nama-lain.example")
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(made)
    der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    name_server.add(
        f"_25._tcp.mx.{domain}", "TLSA", f"3 0 1 {hashlib.sha256(der).hexdigest() if matches else 'ab' * 32}"
    )
    finding = await tls_of(name_server, domain, MxHost(tls=made))
    assert finding.verdict is verdict
    assert "TLSA" in finding.detail


async def test_mx_tlsa_record_without_dnssec_is_ignored(name_server: NameServer) -> None:
    domain = f"tanpa-bukti.{DELEGATED_UNSIGNED}"
    name_server.add(f"_25._tcp.mx.{domain}", "TLSA", "3 1 1 " + "ab" * 32)
    finding = await tls_of(name_server, domain, MxHost(tls=context(f"mx.{domain}")))
    assert finding.verdict is Verdict.PASS


async def test_mx_bad_certificate_under_enforced_mta_sts_fails(name_server: NameServer) -> None:
    name_server.add("_mta-sts.tegas.gov.my", "TXT", "v=STSv1; id=1")
    name_server.add("mta-sts.tegas.gov.my", "A", "127.0.0.1")
    policy = "version: STSv1\nmode: enforce\nmx: mx.tegas.gov.my\nmax_age: 86400\n"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(policy)}\r\n\r\n{policy}".encode())
        await writer.drain()

    async with listening(answer, context("mta-sts.tegas.gov.my")) as port:
        web = PolicyServer(port=port, tls=trust())
        finding = await tls_of(name_server, "tegas.gov.my", MxHost(tls=context("lain.gov.my")), web)
    assert finding.verdict is Verdict.FAIL
    assert "the MTA-STS policy requires a trusted one" in finding.detail


async def test_mx_real_postfix_passes_except_recipient(name_server: NameServer, mail_server: MailServer) -> None:
    name_server.add("posfix.gov.my", "MX", f"10 {HOST}.")
    name_server.add(HOST, "A", "127.0.0.1")
    port = mail_server.ports[Listener.SUBMISSION]
    findings = await findings_of(name_server, port, "posfix.gov.my", tls=mail_server.trust)
    # A submission port refuses unauthenticated clients as a policy.
    assert verdicts(findings, f"{HOST} [127.0.0.1]") == ALL_PASS | {"recipient": Verdict.UNKNOWN}


async def test_mx_tls_hanging_after_grant_is_broken_not_absent() -> None:
    async def grant_and_hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx\r\n")
        await reader.readline()
        writer.write(b"250-mx\r\n250 STARTTLS\r\n")
        await reader.readline()
        writer.write(b"220 mula\r\n")
        await hang(reader, writer)

    async with listening(grant_and_hang) as port:
        seen = await make_callout(server(port, Security.STARTTLS), timeout_seconds=4)
    assert (seen.has_greeting, seen.tls, seen.recipients) == (True, TlsResult.BROKEN, {})
    assert seen.break_reason == "no answer"


async def test_mx_host_without_greeting_ends_with_timeout(name_server: NameServer) -> None:
    add_host(name_server, "bisu.gov.my")
    async with hosts({"127.0.0.2": hang}) as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await findings_of(name_server, port, "bisu.gov.my")
