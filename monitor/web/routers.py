"""Routes that stand together though they are built apart."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI


def join(to: FastAPI | APIRouter, part: APIRouter) -> None:
    """Let *to* have the routes of *part* as they are.

    Included as FastAPI does it, each would be made a second time: a fifth of a second of every start.
    """
    to.routes.extend(part.routes)


def together(*parts: APIRouter) -> APIRouter:
    """Return what has the routes of all parts."""
    whole = APIRouter()
    for part in parts:
        join(whole, part)
    return whole
