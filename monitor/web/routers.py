"""Composition of routers without copies of their routes."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI


def join(to: FastAPI | APIRouter, part: APIRouter) -> None:
    """Add the routes of *part* to *to* unchanged.

    FastAPI's own `include_router` would create each route a second time: a fifth of a second at every start.
    """
    to.routes.extend(part.routes)


def together(*parts: APIRouter) -> APIRouter:
    """Return a router with the routes of all parts."""
    whole = APIRouter()
    for part in parts:
        join(whole, part)
    return whole
