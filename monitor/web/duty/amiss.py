"""What is amiss with a form that somebody sent: its page comes again, says so, and has what was typed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

from pydantic import TypeAdapter, ValidationError

from monitor.service.order import NotDone
from monitor.web.word import Why

_WHY = TypeAdapter(Why)


@dataclass(frozen=True, slots=True, kw_only=True)
class FormAmiss:
    """What was wrong with a form."""

    status: int = HTTPStatus.OK
    #: Which form of the page: a deed, or a notice's number.
    form: str = ""
    #: A key of `duty_amiss` in words/duty.yaml; "": nothing was.
    problem: str = ""
    #: In the service's own words.
    why: str | Exception = ""
    written: Mapping[str, str] = field(default_factory=dict)


FINE: Final = FormAmiss()


def unreadable(form: str, problem: str, written: Mapping[str, str]) -> FormAmiss:
    """Return that something is missing in a form, or cannot be read."""
    return FormAmiss(status=HTTPStatus.UNPROCESSABLE_ENTITY, form=form, problem=problem, written=written)


def refused(form: str, wrong: NotDone, written: Mapping[str, str]) -> FormAmiss:
    """Return that what a form orders cannot be done."""
    return FormAmiss(status=HTTPStatus.CONFLICT, form=form, problem="not_done", why=wrong, written=written)


def read_why(form: Mapping[str, str], name: str = "why") -> str | None:
    """Return what a person wrote as a reason; `None`: nothing, or nothing that can be kept."""
    try:
        return _WHY.validate_python(form.get(name, ""))
    except ValidationError:
        return None
