"""Cache of FastAPI's analysis of routes, which is the same for each portal and most of its cost.

Routes of later portals are completed on the first request: most tests use few of a hundred.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields, replace
from inspect import Signature
from types import CodeType, FunctionType, MethodType
from typing import Any, TypeGuard
from unittest.mock import patch

from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant, get_typed_return_annotation, get_typed_signature
from fastapi.params import Depends
from fastapi.routing import APIRoute
from pydantic import TypeAdapter


def cache_routes() -> ExitStack:
    """Cache the analysis of routes until the returned stack is closed."""
    begun = ExitStack()
    _complete_routes_lazily(begun)
    begun.enter_context(patch("fastapi._compat.v2.TypeAdapter", _Schemas()))
    begun.enter_context(patch("fastapi.routing.get_dependant", _Dependants()))
    begun.enter_context(patch("fastapi.dependencies.utils.get_typed_signature", _Signatures()))
    begun.enter_context(patch("fastapi.routing.get_typed_return_annotation", _ReturnAnnotations()))
    return begun


def _complete_routes_lazily(patches: ExitStack) -> None:
    """Create a route completely only the first time, and later on its first use; until then it can be matched.

    The same code at the same path requires the same permission in each portal, whatever it closes over.
    """
    from monitor.web.access import access_control  # noqa: PLC0415 - pytest's controller process does not need it

    whole, requirement_of = APIRoute.__init__, access_control.requirement_of
    firsts: dict[object, APIRoute] = {}

    def begin(route: APIRoute, path: str, endpoint: Callable[..., Any], **said: Any) -> None:
        if (function := _plain_function(endpoint)) is None:
            whole(route, path, endpoint, **said)
            return
        asked = [*said["dependencies"], *(each for each in _defaults(function) if isinstance(each, Depends))]
        needs = tuple(_kind(each.dependency) for each in asked)
        key = (type(route), function.__code__, path, frozenset(said["methods"]), needs)
        if (first := firsts.get(key)) is None:
            whole(route, path, endpoint, **said)
            firsts[key] = route
        else:
            found_by = ("path", "path_regex", "path_format", "param_convertors", "methods")
            vars(route).update({name: getattr(first, name) for name in found_by}, endpoint=endpoint)
            vars(route).update(_begun=(path, endpoint, said), _first=first)

    def finish(route: APIRoute, name: str) -> Any:
        if (begun := vars(route).get("_begun")) is None:
            raise AttributeError(name)
        path, endpoint, said = begun
        made = object.__new__(type(route))
        whole(made, path, endpoint, **said)
        vars(route).update(vars(made))
        return getattr(made, name)

    patches.enter_context(patch.object(APIRoute, "__init__", begin))
    patches.enter_context(patch.object(APIRoute, "__getattr__", finish, create=True))
    patches.enter_context(
        patch.object(access_control, "requirement_of", lambda route: requirement_of(vars(route).get("_first", route)))
    )


def _kind(asked: Any) -> object:
    """Return a key of a dependency that is the same in each portal."""
    agency = getattr(asked, "agency", None)
    return getattr(asked, "__code__", None) or (
        type(asked),
        getattr(asked, "permission", None),
        agency and _kind(agency),
    )


class _Schemas:
    """Cached schemas of requests and responses."""

    def __init__(self) -> None:
        self._made: dict[str, TypeAdapter[Any]] = {}

    def __call__(self, kind: Any, *, config: Any = None) -> TypeAdapter[Any]:
        key = repr((kind, config))
        if "<locals>" in key:  # Two local classes may have the same name.
            return TypeAdapter(kind, config=config)
        if key not in self._made:
            self._made[key] = TypeAdapter(kind, config=config)
        return self._made[key]


class _Dependants:
    """Cached dependencies of route functions.

    The same code with the same path has the same dependencies if its annotations are strings.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[CodeType, str], Dependant] = {}

    def __call__(self, *, path: str, call: Callable[..., Any], scope: Any = None) -> Dependant:
        if not _has_string_annotations(call):
            return get_dependant(path=path, call=call, scope=scope)
        key = (call.__code__, f"{path} {scope} {_defaults(call)!r}")
        if key not in self._known:
            self._known[key] = get_dependant(path=path, call=call, scope=scope)
        known = self._known[key]
        kept = ((each.name, getattr(known, each.name)) for each in fields(Dependant))
        # Copies, because the route appends to the lists.
        lists: dict[str, Any] = {name: list(value) for name, value in kept if isinstance(value, list)}
        return replace(known, call=call, **lists)


class _Signatures:
    """Cached signatures of functions; their defaults are set for each function."""

    def __init__(self) -> None:
        self._known: dict[tuple[CodeType, bool], Signature] = {}

    def __call__(self, call: Callable[..., Any]) -> Signature:
        if (function := _plain_function(call)) is None:
            return get_typed_signature(call)
        key = (function.__code__, function is call)
        if key not in self._known:
            self._known[key] = get_typed_signature(call)
        known = self._known[key]
        if not function.__defaults__ and not function.__kwdefaults__:
            return known
        code, values = function.__code__, function.__defaults__ or ()
        positional = code.co_varnames[code.co_argcount - len(values) : code.co_argcount]
        own = dict(zip(positional, values, strict=True)) | (function.__kwdefaults__ or {})
        named = known.parameters.values()
        return Signature([each.replace(default=own[each.name]) if each.name in own else each for each in named])


class _ReturnAnnotations:
    """Cached return annotations of functions."""

    def __init__(self) -> None:
        self._known: dict[CodeType, Any] = {}

    def __call__(self, call: Callable[..., Any]) -> Any:
        if (function := _plain_function(call)) is None:
            return get_typed_return_annotation(call)
        if function.__code__ not in self._known:
            self._known[function.__code__] = get_typed_return_annotation(call)
        return self._known[function.__code__]


def _has_string_annotations(call: Callable[..., Any]) -> TypeGuard[FunctionType]:
    """Return whether all annotations are strings, so that they name globals of the module only."""
    if not isinstance(call, FunctionType) or any(isinstance(each, Depends) for each in _defaults(call)):
        return False
    return all(isinstance(each, str) for each in call.__annotations__.values())


def _defaults(call: FunctionType) -> tuple[object, ...]:
    return (*(call.__defaults__ or ()), *(call.__kwdefaults__ or {}).values())


def _plain_function(call: Callable[..., Any]) -> FunctionType | None:
    """Return the called function if its annotations are strings; those of a closure may differ."""
    if isinstance(call, MethodType):
        function: object = call.__func__
    else:
        function = call if isinstance(call, FunctionType | type) else type(call).__call__
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return None
    return function if all(isinstance(each, str) for each in function.__annotations__.values()) else None
