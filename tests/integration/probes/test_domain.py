"""Domain check of fictional domains at real name servers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache

import dkim
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from monitor.metrics import Metrics
from pantau_lab.serving import claimed
from probes.domain.mta_sts import PolicyServer
from probes.domain.records import RecordReading, read_records
from probes.kinds.domain import KIND, DomainCheck
from probes.model.check import CheckScope, Finding, NameServers, Verdict
from probes.model.egress import AllowedNetwork, EgressPolicy
from tests.real.nameserver import DELEGATED_SIGNED, DELEGATED_UNSIGNED, FORGED, ISLAND, NameServer
from tests.unit.monitor.scrape import NOON, Scrape
from tests.unit.probes.standin import listening

pytestmark = pytest.mark.real


_NOWHERE = PolicyServer(port=1)


async def findings_of(
    servers: NameServers,
    *domains: str,
    sample_message: bytes | None = None,
    lists: tuple[str, ...] = (),
    policy_server: PolicyServer = _NOWHERE,
    egress: EgressPolicy | None = None,
) -> tuple[Finding, ...]:
    check_scope = CheckScope(
        agency="JCM",
        mailboxes=(),
        domains=domains,
        name_servers=servers,
        sample_message=lambda: sample_message,
        egress=egress,
    )
    async with asyncio.timeout(60):
        check = DomainCheck(check_scope, lambda: datetime.now(UTC), lists=lists, policy_server=policy_server)
        findings = await check.run()
    assert {one.aspect for one in findings} <= set(KIND.aspects)
    return findings


async def check_domain(servers: NameServers, domain: str, **options: object) -> dict[str, Finding]:
    findings = await findings_of(servers, domain, **options)  # type: ignore[arg-type]
    return {one.aspect: one for one in findings}


def verdicts(findings: dict[str, Finding]) -> dict[str, Verdict]:
    return {aspect: finding.verdict for aspect, finding in findings.items()}


# -- records ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "verdict", "told"),
    [
        ((), Verdict.FAIL, "there is no SPF record"),
        (("v=spf1 ip4:192.0.2.0/24 -all",), Verdict.PASS, "ends with -all and needs 0 of 10"),
        (("v=spf1 ip4:192.0.2.0/24 ~all", "google-site-verification=x"), Verdict.PASS, "ends with ~all"),
        (("v=spf1 +all",), Verdict.FAIL, "allows everyone to send for the domain: +all"),
        (("v=spf1 ip4:0.0.0.0/0 -all",), Verdict.FAIL, "ip4:0.0.0.0/0"),
        (("v=spf1 ip4:192.0.2.1/0 -all",), Verdict.FAIL, "ip4:192.0.2.1/0"),
        (("v=spf1 ip4:0.0.0.0/1 ip4:128.0.0.0/1 -all",), Verdict.FAIL, "ip4:0.0.0.0/1"),
        (("v=spf1 -ip4:0.0.0.0/0 -include:terbuka.example -all",), Verdict.PASS, "ends with -all"),
        (("v=spf1 include:terbuka.example -all",), Verdict.FAIL, "+all in terbuka.example"),
        (("v=spf1 ip4:192.0.2.1 ?all",), Verdict.WARN, "-all or ~all is expected"),
        (("v=spf1 ip4:192.0.2.1",), Verdict.WARN, "-all or ~all is expected"),
        (("v=spf1 ptr:terbuka.example -all",), Verdict.WARN, "ptr"),
        (("v=spf1 ip4:192.0.2.999 -all",), Verdict.FAIL, "receivers cannot use"),
        (("v=spf1 -all", "v=spf1 mx -all"), Verdict.FAIL, "multiple SPF"),
        (("v=spf1 include:rantai0.example -all",), Verdict.FAIL, "11/10 maximum DNS lookups"),
        (("v=spf1 include:tiada.example -all",), Verdict.FAIL, "has no SPF record"),
        (("v=spf1 redirect=terpinjam.example",), Verdict.PASS, "ends with -all"),
        ((f"v=spf1 include:{FORGED} -all",), Verdict.UNKNOWN, f"no answer about {FORGED}"),
    ],
)
@pytest.mark.usefixtures("included_spf_records")
async def test_spf_verdict(
    name_server: NameServer, request: pytest.FixtureRequest, records: tuple[str, ...], verdict: Verdict, told: str
) -> None:
    domain = named_after(request)
    name_server.add(domain, "TXT", *records, "bukan rekod kita")
    finding = (await check_domain(name_server.validating, domain))["spf"]
    assert (finding.verdict, finding.subject) == (verdict, domain)
    assert told in finding.detail


@pytest.fixture(scope="module")
def included_spf_records(name_server: NameServer) -> None:
    """Add the records that several SPF records include."""
    name_server.add("terbuka.example", "TXT", "v=spf1 +all")
    name_server.add("terbuka.example", "A", "192.0.2.77")
    name_server.add("terpinjam.example", "TXT", "v=spf1 ip4:192.0.2.1 -all")
    for number in range(10):
        name_server.add(f"rantai{number}.example", "TXT", f"v=spf1 include:rantai{number + 1}.example -all")
    name_server.add("rantai10.example", "TXT", "v=spf1 -all")


def named_after(request: pytest.FixtureRequest) -> str:
    """Return a domain unique to this test case."""
    return f"kes{abs(hash(request.node.nodeid)):x}.gov.my"


async def test_spf_changed_record_is_queried_again(name_server: NameServer) -> None:
    name_server.add("berubah.gov.my", "TXT", "v=spf1 mx -all")
    assert (await check_domain(name_server.validating, "berubah.gov.my"))["spf"].verdict is Verdict.PASS
    name_server.add("berubah.gov.my", "TXT", "v=spf1 a -all")
    assert (await check_domain(name_server.validating, "berubah.gov.my"))["spf"].verdict is Verdict.FAIL


async def test_records_silent_name_server_is_unanswered_without_blocking_loop(name_server: NameServer) -> None:
    turns = 0
    reading = asyncio.create_task(read_records("baik.gov.my", name_server.silent))
    while not reading.done():
        await asyncio.wait([reading], timeout=0.01)
        turns += 1
    # Eight queries are each unanswered for 0.3 s; a blocked loop would have one turn only.
    assert turns > 16
    records = reading.result()
    for record in (records.spf, records.dmarc, records.mta_sts, records.tls_rpt):
        assert (record.record, bool(record.unanswered)) == (None, True)


async def test_records_timeout_over_sends_no_query(name_server: NameServer) -> None:
    name_server.add("lambat.gov.my", "TXT", "v=spf1 mx -all")
    late = await read_records("lambat.gov.my", name_server.validating, within=timedelta())
    assert late.spf == RecordReading(error=late.spf.error, unanswered="lambat.gov.my")


@pytest.mark.parametrize(
    ("record", "verdict", "told"),
    [
        (None, Verdict.FAIL, "there is no DMARC record"),
        ("v=DMARC1; p=reject; rua=mailto:a@rujukan.example", Verdict.PASS, "the DMARC policy is reject"),
        ("v=DMARC1; p=quarantine", Verdict.PASS, "without rua="),
        ("v=DMARC1; p=reject; sp=none", Verdict.PASS, "the DMARC policy is reject"),
        ("v=DMARC1; p=none; sp=reject", Verdict.WARN, "only monitors"),
        ("v=DMARC1; p=none; rua=mailto:a@rujukan.example", Verdict.WARN, "only monitors"),
        ("v=DMARC1; p=reject; t=y", Verdict.WARN, "marked as a test"),
        ("v=DMARC1; p=tolak", Verdict.FAIL, "receivers cannot use the DMARC record"),
        ("v=spf1 -all", Verdict.FAIL, "receivers cannot use the DMARC record"),
    ],
)
async def test_dmarc_verdict(
    name_server: NameServer, request: pytest.FixtureRequest, record: str | None, verdict: Verdict, told: str
) -> None:
    domain = named_after(request)
    name_server.add(domain, "TXT", "v=spf1 -all")
    if record is not None:
        name_server.add(f"_dmarc.{domain}", "TXT", record)
    finding = (await check_domain(name_server.validating, domain))["dmarc"]
    assert finding.verdict is verdict
    assert told in finding.detail


async def test_dmarc_parent_policy_applies_to_subdomain(name_server: NameServer) -> None:
    name_server.add("_dmarc.induk.gov.my", "TXT", "v=DMARC1; p=reject; sp=none")
    name_server.add("anak.induk.gov.my", "TXT", "v=spf1 -all")
    finding = (await check_domain(name_server.validating, "anak.induk.gov.my"))["dmarc"]
    assert finding.verdict is Verdict.WARN
    assert "from induk.gov.my" in finding.detail


@pytest.mark.parametrize(
    ("record", "verdict", "told"),
    [
        (None, Verdict.WARN, "there is no TLS-RPT record"),
        ("v=TLSRPTv1; rua=mailto:tls@rujukan.example", Verdict.PASS, "reported"),
        ("v=TLSRPTv1; rua=tls@rujukan.example", Verdict.FAIL, "cannot use the TLS-RPT record"),
    ],
)
async def test_tls_rpt_verdict(
    name_server: NameServer, request: pytest.FixtureRequest, record: str | None, verdict: Verdict, told: str
) -> None:
    domain = named_after(request)
    name_server.add(domain, "MX", "10 mx.rujukan.example.")
    if record is not None:
        name_server.add(f"_smtp._tls.{domain}", "TXT", record)
    finding = (await check_domain(name_server.validating, domain))["tls-rpt"]
    assert finding.verdict is verdict
    assert told in finding.detail


# -- a whole domain ---------------------------------------------------------------------------------------------------


async def test_domain_well_configured_passes(name_server: NameServer) -> None:
    name_server.add("baik.gov.my", "MX", "10 mx1.baik.gov.my.")
    name_server.add("mx1.baik.gov.my", "A", "192.0.2.10")
    name_server.add("_25._tcp.mx1.baik.gov.my", "TLSA", "3 1 1 " + "ab" * 32)
    name_server.add("baik.gov.my", "TXT", "v=spf1 mx -all")
    name_server.add("_dmarc.baik.gov.my", "TXT", "v=DMARC1; p=reject; rua=mailto:d@baik.gov.my")
    name_server.add("_smtp._tls.baik.gov.my", "TXT", "v=TLSRPTv1; rua=mailto:tls@baik.gov.my")
    name_server.add("_mta-sts.baik.gov.my", "TXT", "v=STSv1; id=1")
    name_server.add("s1._domainkey.baik.gov.my", "TXT", public_key_record(2048))
    name_server.add("mta-sts.baik.gov.my", "A", "127.0.0.1")
    name_server.add("2.0.0.127.senarai.example", "A", "127.0.0.2")
    async with web_server("baik.gov.my", "version: STSv1\nmode: enforce\nmx: *.baik.gov.my\nmax_age: 86400\n") as web:
        found = await check_domain(
            name_server.validating,
            "baik.gov.my",
            sample_message=signed("baik.gov.my"),
            lists=("senarai.example",),
            policy_server=web,
        )
    assert verdicts(found) == dict.fromkeys(KIND.aspects, Verdict.PASS), found
    assert found["dmarc"].detail == "the DMARC policy is reject"


async def test_domain_without_mail_passes(name_server: NameServer) -> None:
    name_server.add("sunyi.gov.my", "MX", "0 .")
    name_server.add("sunyi.gov.my", "TXT", "v=spf1 -all")
    name_server.add("_dmarc.sunyi.gov.my", "TXT", "v=DMARC1; p=reject")
    found = await check_domain(name_server.validating, "sunyi.gov.my")
    assert verdicts(found) == dict.fromkeys(KIND.aspects[:-1], Verdict.PASS)
    assert found["spf"].detail == "SPF says that the domain sends no mail"


async def test_domain_without_records_fails_required_and_warns_recommended(
    name_server: NameServer,
) -> None:
    name_server.add(DELEGATED_UNSIGNED, "MX", "10 aspmx.rujukan.example.")
    found = await check_domain(name_server.validating, DELEGATED_UNSIGNED)
    assert verdicts(found) == {
        "spf": Verdict.FAIL,
        "dmarc": Verdict.FAIL,
        "dkim": Verdict.UNKNOWN,
        "mta-sts": Verdict.WARN,
        "tls-rpt": Verdict.WARN,
        "dane": Verdict.WARN,
        "dnssec": Verdict.WARN,
    }


async def test_domain_silent_name_servers_is_unknown(name_server: NameServer) -> None:
    found = await check_domain(name_server.silent, "baik.gov.my", lists=("senarai.example",))
    assert verdicts(found) == dict.fromkeys(KIND.aspects, Verdict.UNKNOWN)
    assert "do not answer" in found["spf"].detail


async def test_domain_forged_answers_fail_dnssec_and_leave_rest_unknown(name_server: NameServer) -> None:
    found = await check_domain(name_server.validating, FORGED)
    assert verdicts(found) == dict.fromkeys(KIND.aspects[:-1], Verdict.UNKNOWN) | {"dnssec": Verdict.FAIL}


async def test_domain_findings_have_stable_order(name_server: NameServer) -> None:
    findings = await findings_of(name_server.validating, DELEGATED_SIGNED, ISLAND)
    assert [(one.subject, one.aspect) for one in findings] == [
        (domain, aspect) for domain in (DELEGATED_SIGNED, ISLAND) for aspect in KIND.aspects[:-1]
    ]


# -- DANE -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "record", "verdict", "told"),
    [
        ("gov.my", "3 1 1 " + "ab" * 32, Verdict.PASS, "usable TLSA"),
        ("gov.my", "1 1 1 " + "ab" * 32, Verdict.FAIL, "not usable for mail"),
        (DELEGATED_UNSIGNED, "3 1 1 " + "ab" * 32, Verdict.WARN, "have no effect"),
    ],
)
async def test_dane_verdict(
    name_server: NameServer, request: pytest.FixtureRequest, *, zone: str, record: str, verdict: Verdict, told: str
) -> None:
    domain = named_after(request).removesuffix(".gov.my") + f".{zone}"
    name_server.add(domain, "MX", f"10 mx.{domain}.")
    name_server.add(f"_25._tcp.mx.{domain}", "TLSA", record)
    finding = (await check_domain(name_server.validating, domain))["dane"]
    assert finding.verdict is verdict
    assert told in finding.detail


@pytest.mark.parametrize(("zone", "host_zone"), [("gov.my", DELEGATED_UNSIGNED), (DELEGATED_UNSIGNED, "gov.my")])
async def test_dane_records_without_dnssec_have_no_effect(
    name_server: NameServer, request: pytest.FixtureRequest, zone: str, host_zone: str
) -> None:
    label = named_after(request).removesuffix(".gov.my")
    domain, host = f"{label}.{zone}", f"mx.{label}.{host_zone}"
    name_server.add(domain, "MX", f"10 {host}.")
    name_server.add(f"_25._tcp.{host}", "TLSA", "3 1 1 " + "ab" * 32)
    finding = (await check_domain(name_server.validating, domain))["dane"]
    unproven = domain if zone == DELEGATED_UNSIGNED else host
    assert (finding.verdict, finding.detail) == (
        Verdict.WARN,
        f"the TLSA records have no effect: DNSSEC does not prove the records of {unproven}",
    )


# -- DKIM -------------------------------------------------------------------------------------------------------------


@cache
def key(bits: int) -> RSAPrivateKey:
    return generate_private_key(65537, bits)


def public_key_record(bits: int, more: str = "") -> str:
    der = key(bits).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return f"v=DKIM1; k=rsa;{more} p={''.join(der.splitlines()[1:-1])}"


def signed(
    domain: str, *, bits: int = 2048, by: str | None = None, received: str = "", author: str | None = None
) -> bytes:
    message = (
        f"From: semakan@{author or domain}\r\nTo: rujukan@rujukan.example\r\nSubject: ujian\r\n"
        f"Date: Wed, 25 Nov 2026 03:00:00 +0000\r\nMessage-ID: <1@{domain}>\r\n\r\nUjian sahaja.\r\n"
    ).encode()
    pem = key(bits).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    header = dkim.sign(message, b"s1", (by or domain).encode(), pem, include_headers=[b"from", b"subject"])
    return received.encode() + bytes(header) + message


def alter_body(message: bytes) -> bytes:
    return message.replace(b"Ujian sahaja.", b"Ujian sahaja!")


@pytest.mark.parametrize(
    ("make", "key_record", "verdict", "told"),
    [
        (signed, lambda: public_key_record(2048), Verdict.PASS, "with the key s1"),
        (
            lambda domain: signed(f"e.{domain}", by=domain),
            lambda: public_key_record(2048),
            Verdict.UNKNOWN,
            "no message from",
        ),
        (
            lambda domain: alter_body(signed(domain)),
            lambda: public_key_record(2048),
            Verdict.FAIL,
            "body hash mismatch",
        ),
        (signed, lambda: public_key_record(1024), Verdict.FAIL, "does not fit"),
        (lambda domain: signed(domain, bits=1024), lambda: public_key_record(1024), Verdict.WARN, "has 1024 bits"),
        (signed, lambda: public_key_record(2048, " t=y;"), Verdict.WARN, "for testing"),
        (signed, lambda: "v=DKIM1; p=", Verdict.FAIL, "no valid DKIM signature"),
        (signed, None, Verdict.FAIL, "there is no key at s1._domainkey."),
        (lambda domain: signed(domain).partition(b"\r\nFrom")[2], None, Verdict.UNKNOWN, "no message from"),
        (lambda domain: f"From: a@{domain}\r\n\r\nx\r\n".encode(), None, Verdict.FAIL, "without a DKIM signature"),
    ],
)
async def test_dkim_verdict(
    name_server: NameServer,
    request: pytest.FixtureRequest,
    *,
    make: Callable[[str], bytes],
    key_record: Callable[[], str] | None,
    verdict: Verdict,
    told: str,
) -> None:
    domain = named_after(request)
    name_server.add(domain, "TXT", "v=spf1 mx -all")
    if key_record is not None:
        name_server.add(f"s1._domainkey.{domain}", "TXT", key_record())
    finding = (await check_domain(name_server.validating, domain, sample_message=make(domain)))["dkim"]
    assert finding.verdict is verdict, finding.detail
    assert told in finding.detail


@pytest.mark.falsegreen
async def test_dkim_signature_that_starts_failing_is_exported_as_fail(
    name_server: NameServer, request: pytest.FixtureRequest
) -> None:
    """Defect: A verdict is only ever set to 1, and shared by all.

    Pantau: Each look replaces what the last one found.
    """
    domain = named_after(request)
    name_server.add(f"s1._domainkey.{domain}", "TXT", public_key_record(2048))
    metrics = Metrics(version="0", now=lambda: NOON)
    metrics.register_agency("JCONTOH", routes=())
    shown = []
    for sample_message in (signed(domain), alter_body(signed(domain))):
        findings = await findings_of(name_server.validating, domain, sample_message=sample_message)
        metrics.record_check_run("JCONTOH", "domain", findings, NOON)
        scraped = Scrape(metrics)
        shown.append(scraped.value("check_state", agency="JCONTOH", check="domain", aspect="dkim", subject=domain))
    assert shown == [0, 2]  # pass, then fail, on the same series


async def test_dkim_signature_of_provider_only_fails(name_server: NameServer) -> None:
    name_server.add("s1._domainkey.pembekal.example", "TXT", public_key_record(2048))
    message = signed("sewa.gov.my", by="pembekal.example")
    finding = (await check_domain(name_server.validating, "sewa.gov.my", sample_message=message))["dkim"]
    assert finding.verdict is Verdict.FAIL
    assert finding.detail == "signed only for pembekal.example; a signature with d=sewa.gov.my is expected"


# -- MTA-STS ----------------------------------------------------------------------------------------------------------

_AUTHORITY = trustme.CA()


@asynccontextmanager
async def web_server(
    domain: str,
    policy: str,
    *,
    status: str = "200 OK",
    name: str | None = None,
    content_encoding: str = "identity",
    asked: list[str] | None = None,
) -> AsyncIterator[PolicyServer]:
    """Serve *policy* as the web server of *domain* does, on loopback. *asked* collects the peers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _AUTHORITY.issue_cert(name or f"mta-sts.{domain}").configure_cert(context)
    trust = ssl.create_default_context()
    _AUTHORITY.configure_trust(trust)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asked is not None:
            asked.append(str(writer.get_extra_info("peername")))
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        good = lines[0].startswith("GET /.well-known/mta-sts.txt ") and f"Host: mta-sts.{domain}" in lines
        head = f"HTTP/1.1 {status if good else '404 Not Found'}\r\nContent-Type: text/plain\r\n"
        head += f"Content-Encoding: {content_encoding}\r\n"
        writer.write(f"{head}Location: /lain\r\nContent-Length: {len(policy)}\r\n\r\n{policy}".encode())
        await writer.drain()

    async with listening(answer, context) as port:
        yield PolicyServer(port=port, tls=trust)


_GOOD = "version: STSv1\r\nmode: enforce\r\nmx: mx1.dasar.gov.my\r\nmx: *.sandar.example\r\nmax_age: 86400\r\n"


@pytest.mark.parametrize(
    ("policy", "status", "verdict", "told"),
    [
        (_GOOD, "200 OK", Verdict.PASS, "enforced"),
        (_GOOD.replace("enforce", "testing"), "200 OK", Verdict.WARN, "testing"),
        (_GOOD.replace("enforce", "none"), "200 OK", Verdict.WARN, "none"),
        (_GOOD.replace("mx1", "mx9"), "200 OK", Verdict.FAIL, "leaves out mx1.dasar.gov.my"),
        (_GOOD.replace("max_age: 86400", ""), "200 OK", Verdict.FAIL, "Missing required key"),
        (_GOOD, "301 Moved Permanently", Verdict.FAIL, "answers 301"),
        (_GOOD, "404 Not Found", Verdict.FAIL, "answers 404"),
        ("x" * 70_000, "200 OK", Verdict.FAIL, "longer than"),
    ],
)
async def test_mta_sts_verdict(name_server: NameServer, policy: str, status: str, verdict: Verdict, told: str) -> None:
    add_policy_domain(name_server)
    async with web_server("dasar.gov.my", policy, status=status) as web:
        finding = (await check_domain(name_server.validating, "dasar.gov.my", policy_server=web))["mta-sts"]
    assert finding.verdict is verdict, finding.detail
    assert told in finding.detail


def add_policy_domain(name_server: NameServer) -> None:
    name_server.add("dasar.gov.my", "MX", "10 mx1.dasar.gov.my.", "20 a.sandar.example.")
    name_server.add("_mta-sts.dasar.gov.my", "TXT", "v=STSv1; id=20261125")
    name_server.add("mta-sts.dasar.gov.my", "A", "127.0.0.1")


async def test_mta_sts_policy_under_wrong_certificate_fails(name_server: NameServer) -> None:
    add_policy_domain(name_server)
    async with web_server("dasar.gov.my", _GOOD, name="www.dasar.gov.my") as web:
        finding = (await check_domain(name_server.validating, "dasar.gov.my", policy_server=web))["mta-sts"]
    assert finding.verdict is Verdict.FAIL
    assert "not trusted" in finding.detail


async def test_mta_sts_policy_outside_egress_policy_is_not_fetched(name_server: NameServer) -> None:
    add_policy_domain(name_server)
    asked = list[str]()
    async with web_server("dasar.gov.my", _GOOD, asked=asked) as web:
        domain, servers, allowed = "dasar.gov.my", name_server.validating, AllowedNetwork.read("127.0.0.0/8")
        inside = (await check_domain(servers, domain, policy_server=web, egress=EgressPolicy()))["mta-sts"]
        assert asked == []
        permitted = (
            await check_domain(servers, domain, policy_server=web, egress=EgressPolicy(exceptions=(allowed,)))
        )["mta-sts"]
    assert (inside.verdict, permitted.verdict) == (Verdict.UNKNOWN, Verdict.PASS)
    assert inside.detail.endswith("mta-sts.dasar.gov.my is not contacted: its address is this machine itself")
    assert len(asked) == 1


async def test_mta_sts_compressed_policy_is_not_decompressed(name_server: NameServer) -> None:
    add_policy_domain(name_server)
    async with web_server("dasar.gov.my", _GOOD, content_encoding="gzip") as web:
        finding = (await check_domain(name_server.validating, "dasar.gov.my", policy_server=web))["mta-sts"]
    assert finding.verdict is Verdict.FAIL
    assert "compresses the policy" in finding.detail


async def test_mta_sts_refused_or_nameless_web_server_fails(name_server: NameServer) -> None:
    add_policy_domain(name_server)
    name_server.add("_mta-sts.tanpa.gov.my", "TXT", "v=STSv1; id=1")
    with claimed(1) as (port,):
        closed_server = PolicyServer(port=port)
        refused = (await check_domain(name_server.validating, "dasar.gov.my", policy_server=closed_server))["mta-sts"]
        nameless = (await check_domain(name_server.validating, "tanpa.gov.my", policy_server=closed_server))["mta-sts"]
    assert (refused.verdict, nameless.verdict) == (Verdict.FAIL, Verdict.FAIL)
    assert "refuses connections" in refused.detail
    assert "mta-sts.tanpa.gov.my has no address" in nameless.detail


# -- block lists ------------------------------------------------------------------------------------------------------

_RECEIVED = (
    "Received: from dalam.rujukan.example (dalam.rujukan.example [10.0.0.9]) by mx.rujukan.example; x\r\n"
    "Received: from mel.{domain} (mel.{domain} [192.0.2.25])\r\n by dalam.rujukan.example with ESMTPS id 1; x\r\n"
    "Received: from palsu (palsu [198.51.100.1]) by mel.{domain}; x\r\n"
)


@pytest.mark.parametrize(
    ("entries", "verdict", "told"),
    [
        ({}, Verdict.PASS, "none of 2 addresses"),
        ({"25.2.0.192": "127.0.0.2"}, Verdict.FAIL, "192.0.2.25, from which the agency sends, is listed"),
        ({"10.2.0.192": "127.0.0.11"}, Verdict.WARN, "listed: 192.0.2.10, which accepts mail"),
        ({"25.2.0.192": "127.255.255.254"}, Verdict.UNKNOWN, "refuses to answer us"),
        ({"2.0.0.127": "127.255.255.254"}, Verdict.UNKNOWN, "refuses to answer us"),
        ({"25.2.0.192": "203.0.113.9"}, Verdict.UNKNOWN, "does not work"),
        ({"1.0.0.127": "127.0.0.2"}, Verdict.UNKNOWN, "does not work"),
        ({"2.0.0.127": None}, Verdict.UNKNOWN, "does not work"),
    ],
)
async def test_dnsbl_verdict(
    name_server: NameServer,
    request: pytest.FixtureRequest,
    entries: dict[str, str | None],
    verdict: Verdict,
    told: str,
) -> None:
    zone = named_after(request).replace("gov.my", "senarai.example")
    for name, value in ({"2.0.0.127": "127.0.0.2"} | entries).items():
        if value is not None:
            name_server.add(f"{name}.{zone}", "A", value)
    domain = named_after(request)
    name_server.add(domain, "MX", f"10 mx.{domain}.")
    name_server.add(f"mx.{domain}", "A", "192.0.2.10")
    sample_message = signed(domain, received=_RECEIVED.format(domain=domain))
    finding = (await check_domain(name_server.validating, domain, lists=(zone,), sample_message=sample_message))[
        "dnsbl"
    ]
    assert (finding.verdict, finding.subject) == (verdict, zone), finding.detail
    assert told in finding.detail
