"""'Test now' page: an officer sends one message over a route, watches its phases, and reads what the outcome means.

A route leads from one mailbox to another; a test is a run of a route. The page needs no scripts: while a test runs, it
reloads every two seconds. With scripts, the browser reloads only the fragment, the part of the page that changes.
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
from monitor.web.access.access_control import AgencyTester, agency_in_path, require
from monitor.web.access.sign_in import client_address
from monitor.web.form import Pages, read_form
from monitor.web.page import PageLanguage, notification_language
from monitor.web.page_query import read_query
from probes.model.result import Outcome, Phase

#: Headers of the pages. Unlike the default headers of a page with forms, they do not forbid scripts. With this policy,
#: browsers send the origin of a form, by which `is_from_our_page` recognizes our forms if the browser sends no
#: `Sec-Fetch-Site`.
_HEADERS = {"Referrer-Policy": "same-origin"}


def on_demand_run_pages(on_demand_runs: OnDemandRuns, probe_requester: ProbeRequester, pages: Pages) -> APIRouter:
    """Build the router of the test pages."""
    router = APIRouter(include_in_schema=False, dependencies=require(Permission.RUN_TESTS, agency_in_path))

    @router.get("/agencies/{code}/test")
    async def choose_route(request: Request, code: str) -> Response:
        return render_form(request, code.upper(), selected_route=request.query_params.get("route", ""))

    @router.post("/agencies/{code}/test")
    async def begin(request: Request, code: str, principal: AgencyTester) -> Response:
        agency, selected_route = code.upper(), (await read_form(request)).get("route", "")
        try:
            stored_run = await on_demand_runs.begin(
                agency, selected_route, by=principal.by, address=client_address(request)
            )
        except OnDemandRunRejectedError as error:
            return render_form(request, agency, status=409, selected_route=selected_route, problem=str(error))
        return RedirectResponse(f"/agencies/{agency}/test/{stored_run.key}", status_code=303)

    @router.post("/agencies/{code}/test-all")
    async def begin_all(request: Request, code: str, principal: AgencyTester) -> Response:
        agency = code.upper()
        try:
            await probe_requester.request(agency, by=principal.by, address=client_address(request))
        except OnDemandRunRejectedError as error:
            return render_form(request, agency, status=409, selected_route="", problem=str(error))
        return RedirectResponse(f"/agencies/{agency}/test", status_code=303)

    @router.get("/agencies/{code}/test/{key}")
    async def run(request: Request, code: str, key: str) -> Response:
        return render_run(request, "run.html", on_demand_runs.find(code.upper(), key))

    @router.get("/agencies/{code}/test/{key}/fragment")
    async def run_fragment(request: Request, code: str, key: str) -> Response:
        return render_run(request, "run_part.html", on_demand_runs.find(code.upper(), key))

    def render_run(request: Request, template: str, stored_run: StoredRun) -> Response:
        context = {
            **_run_context(stored_run, read_query(request).language),
            # Whether the route's health is up now.
            "is_up": on_demand_runs.is_up(stored_run.run.route),
        }
        return pages.show(request, template, context, headers=_HEADERS)

    def render_form(
        request: Request, agency: str, *, status: int = 200, selected_route: str, problem: str = ""
    ) -> Response:
        context = {
            # The link to the other language needs a path that accepts GET; the path of `begin_all` accepts POST only.
            "path": f"/agencies/{agency}/test",
            "agency": agency,
            "routes": on_demand_runs.routes(agency),
            "selected_route": selected_route,
            "problem": problem,
            "latest": on_demand_runs.latest(agency),
            # Latest request to test all routes.
            "probe_request": probe_requester.latest(agency),
        }
        return pages.show(request, "runs.html", context, status, headers=_HEADERS)

    return router


def _run_context(stored_run: StoredRun, language: PageLanguage) -> dict[str, Any]:
    """Return the template variables of a test."""
    run = stored_run.run
    result, failure = run.result, run.result.failure if run.result else None
    return {
        "stored_run": stored_run,
        "run": run,
        "route": run.route,
        "phases": [(each, run.phases.get(each)) for each in Phase],
        # Current phase.
        "phase": run.phase,
        # The failed phase has no duration in "phases".
        "failed_phase": failure.phase if failure else None,
        "result": result,
        "is_delivered": result is not None and result.outcome is Outcome.DELIVERED,
        # Number of consecutive successes after which a failing route is up.
        "success_threshold": run.route.probing.health.success_threshold,
        # Probe interval of the route in whole minutes: in practice, intervals are at least one minute.
        "interval_minutes": run.route.probing.interval // timedelta(minutes=1),
        "advice": advise(run.route, result, notification_language(language)) if result else None,
    }
