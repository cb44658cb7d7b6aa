"""'Test now' page: an officer sends one message, watches its phases, and reads an explanation of the outcome.

Works without scripts: while a test runs, the page reloads every two seconds. With scripts only a part of it does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from monitor.access.role import Permission
from monitor.advice import advise
from monitor.service.portal.on_demand_runs import OnDemandRunRejectedError, OnDemandRuns, StoredRun
from monitor.service.sites.probe_requests import ProbeRequester
from monitor.web.access.access_control import ItsTrier, agency_in_path, require
from monitor.web.access.sign_in import from_where
from monitor.web.form import Pages, form_of
from monitor.web.page import PageLanguage, language_of
from monitor.web.page_query import asked
from probes.model.result import Outcome, Phase

#: The form sends its origin in the Referer, which identifies our own page where a browser sends nothing else.
_HEADERS = {"Referrer-Policy": "same-origin"}


def on_demand_run_pages(trials: OnDemandRuns, caller: ProbeRequester, pages: Pages) -> APIRouter:
    """Build the router of the test pages."""
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.RUN_TESTS, agency_in_path))

    @router.get("/agencies/{code}/test")
    async def choose(request: Request, code: str) -> Response:
        return form(request, code.upper(), wanted=request.query_params.get("route", ""))

    @router.post("/agencies/{code}/test")
    async def begin(request: Request, code: str, principal: ItsTrier) -> Response:
        agency, wanted = code.upper(), (await form_of(request)).get("route", "")
        try:
            kept = await trials.begin(agency, wanted, by=principal.by, address=from_where(request))
        except OnDemandRunRejectedError as refused:
            return form(request, agency, status=409, wanted=wanted, problem=str(refused))
        return RedirectResponse(f"/agencies/{agency}/test/{kept.key}", status_code=303)

    @router.post("/agencies/{code}/test-all")
    async def call(request: Request, code: str, principal: ItsTrier) -> Response:
        agency = code.upper()
        try:
            await caller.call(agency, by=principal.by, address=from_where(request))
        except OnDemandRunRejectedError as refused:
            return form(request, agency, status=409, wanted="", problem=str(refused))
        return RedirectResponse(f"/agencies/{agency}/test", status_code=303)

    @router.get("/agencies/{code}/test/{key}")
    async def look(request: Request, code: str, key: str) -> Response:
        return seen(request, "run.html", trials.find(code.upper(), key))

    @router.get("/agencies/{code}/test/{key}/fragment")
    async def part(request: Request, code: str, key: str) -> Response:
        return seen(request, "run_part.html", trials.find(code.upper(), key))

    def seen(request: Request, template: str, kept: StoredRun) -> Response:
        facts = {**_seen(kept, asked(request).language), "is_proven": trials.is_proven(kept.trial.route)}
        return pages.show(request, template, facts, headers=_HEADERS)

    def form(request: Request, agency: str, *, status: int = 200, wanted: str, problem: str = "") -> Response:
        facts = {
            # Not the path of a form, which has no page to show in another language.
            "path": f"/agencies/{agency}/test",
            "agency": agency,
            "routes": trials.routes(agency),
            "wanted": wanted,
            "problem": problem,
            "latest": trials.latest(agency),
            "call": caller.latest(agency),
        }
        return pages.show(request, "runs.html", facts, status, headers=_HEADERS)

    return router


def _seen(kept: StoredRun, language: PageLanguage) -> dict[str, Any]:
    """Return the template values of a test."""
    trial = kept.trial
    result, failure = trial.result, trial.result.failure if trial.result else None
    return {
        "kept": kept,
        "trial": trial,
        "route": trial.route,
        "phases": [(each, trial.phases.get(each)) for each in Phase],
        "phase": trial.phase,
        # The phase that failed has no duration.
        "broken": failure.phase if failure else None,
        "result": result,
        "well": result is not None and result.outcome is Outcome.DELIVERED,
        # Number of consecutive successes after which a failing route is up.
        "successes": trial.route.probing.health.success_threshold,
        # Whole minutes: intervals are not shorter in practice.
        "every": trial.route.probing.interval // timedelta(minutes=1),
        "advice": advise(trial.route, result, language_of(language)) if result else None,
    }
