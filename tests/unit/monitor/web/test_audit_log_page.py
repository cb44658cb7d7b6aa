"""Audit log page: entries by permission, filters, pages and escaping."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from alerts.persistence.store import AuditEntry
from monitor.store.engine.unit_of_work import SqlStore
from tests.unit.alerts.people import T0, trigger
from tests.unit.monitor.web.portal_env import PortalEnv, open_portal


@pytest.fixture
async def env(tmp_path: Path) -> AsyncIterator[PortalEnv]:
    async with open_portal(tmp_path) as opened:
        yield opened


async def add_entries(env: PortalEnv, *entries: AuditEntry) -> None:
    async with SqlStore(env.database).transaction() as uow:
        for each in entries:
            await uow.add_audit_entry(each)


async def incident_of(env: PortalEnv, agency: str) -> int:
    begun = trigger()
    async with SqlStore(env.database).transaction() as uow:
        snapshot = replace(begun.policy, agency=agency)
        return (await uow.add_incidents([replace(begun, dedup_key=agency, policy=snapshot)]))[0].id


def events(page: str) -> list[str]:
    return re.findall(r'href="/audit\?event=[^"]*">([^<]*)</a>', page)


async def test_audit_log_page_shows_all_entries_escaped_and_translated(env: PortalEnv) -> None:
    admin = await env.session_for("siti", "admin")
    detail = {"to": "<script>alert(1)</script>", "count": "3", "nothing": ""}
    await add_entries(env, AuditEntry(at=T0, actor="<b>Ravi</b>", event="something was done", detail=detail))
    page = await admin.get("/audit?lang=en")
    assert "Content-Security-Policy" in page.headers
    assert events(page.text)[0] == "Something was done"
    assert "to: &lt;script&gt;alert(1)&lt;/script&gt;; count: 3" in page.text
    assert "<script" not in page.text
    assert "<b>Ravi" not in page.text
    assert "Signed in" in events(page.text)
    # Malay names are shown if there are any; the address keeps the recorded event.
    malay = (await admin.get("/audit?lang=ms")).text
    assert '<td><a href="/audit?event=signed%20in">Log masuk</a></td>' in malay
    assert '<td lang="en"><a href="/audit?event=something%20was%20done">something was done</a></td>' in malay
    assert 'href="/audit" aria-current="page"' in page.text


async def test_audit_log_page_single_agency_role_sees_its_incidents_only(env: PortalEnv) -> None:
    first, second = await incident_of(env, "JCM"), await incident_of(env, "MDC")
    await add_entries(
        env,
        AuditEntry(at=T0, actor="engine", event="of JCM", incident_id=first),
        AuditEntry(at=T0, actor="engine", event="of MDC", incident_id=second),
        AuditEntry(at=T0, actor="engine", event="of none"),
    )
    noc = await env.session_for("ravi", "noc:JCM")
    assert events((await noc.get("/audit")).text) == ["of JCM"]
    assert events((await noc.get("/audit?event=of none")).text) == []
    assert events((await noc.get("/audit?by=engine")).text) == ["of JCM"]
    assert (await noc.get("/audit?agency=MDC")).status_code == 403
    assert events((await noc.get("/audit?agency=jcm")).text) == ["of JCM"]
    for_all = await env.session_for("siti", "noc")
    assert events((await for_all.get("/audit?agency=MDC")).text) == ["of MDC"]
    numbers = re.findall(r"incident=([A-Z]+-\d+)", (await for_all.get("/audit?event=of MDC")).text)
    assert events((await for_all.get(f"/audit?incident={numbers[0].lower()}")).text) == ["of MDC"]
    # Its number does not show it either.
    assert events((await noc.get(f"/audit?incident={numbers[0]}")).text) == []


async def test_audit_log_page_is_paged_and_filtered_by_user(env: PortalEnv) -> None:
    admin = await env.session_for("siti", "admin")
    await add_entries(env, *(AuditEntry(at=T0, actor="Siti Contoh (siti)", event=f"event {n}") for n in range(120)))
    address, found = "/audit?by=siti", list[str]()
    for _ in range(4):
        page = (await admin.get(address)).text
        found += events(page)
        older = re.search(r'href="([^"]*)" rel="next"', page)
        if older is None:
            break
        address = older[1].replace("&amp;", "&")
    assert found[:120] == [f"event {n}" for n in reversed(range(120))]
    assert found[120:] == ["Log masuk"]
    assert (await admin.get("/audit?before=0")).status_code == 422
    assert (await admin.get("/audit?by=" + "x" * 201)).status_code == 422
