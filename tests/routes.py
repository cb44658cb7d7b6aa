"""What FastAPI finds out of a portal's routes, found out once a process: each portal has the same, and it is most of its making."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields, replace
from inspect import Signature
from types import CodeType, FunctionType, MethodType
from typing import Any
from unittest.mock import patch

from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant, get_typed_return_annotation, get_typed_signature
from fastapi.params import Depends
from pydantic import TypeAdapter


def read_once() -> ExitStack:
    """Begin to find out nothing again, until the stack is closed."""
    begun = ExitStack()
    begun.enter_context(patch("fastapi._compat.v2.TypeAdapter", _Schemas()))
    begun.enter_context(patch("fastapi.routing.get_dependant", _Asked()))
    begun.enter_context(patch("fastapi.dependencies.utils.get_typed_signature", _Signatures()))
    begun.enter_context(patch("fastapi.routing.get_typed_return_annotation", _Returned()))
    return begun


class _Schemas:
    """The schemas of what routes take and give."""

    def __init__(self) -> None:
        self._made: dict[str, TypeAdapter[Any]] = {}

    def __call__(self, kind: Any, *, config: Any = None) -> TypeAdapter[Any]:
        key = repr((kind, config))
        if "<locals>" in key:  # Of these two may be called alike.
            return TypeAdapter(kind, config=config)
        if key not in self._made:
            self._made[key] = TypeAdapter(kind, config=config)
        return self._made[key]


class _Asked:
    """What routes' functions ask for.

    The same code with the same path asks for the same, whatever it closes over, where what it asks for is written as
    annotations, which name nothing but what its module has.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[CodeType, str], Dependant] = {}

    def __call__(self, *, path: str, call: Callable[..., Any], scope: Any = None) -> Dependant:
        if not isinstance(call, FunctionType):
            return get_dependant(path=path, call=call, scope=scope)
        defaults = (*(call.__defaults__ or ()), *(call.__kwdefaults__ or {}).values())
        told = call.__annotations__.values()
        if any(isinstance(each, Depends) for each in defaults) or not all(isinstance(each, str) for each in told):
            return get_dependant(path=path, call=call, scope=scope)
        key = (call.__code__, f"{path} {scope} {defaults!r}")
        if key not in self._known:
            self._known[key] = get_dependant(path=path, call=call, scope=scope)
        known = self._known[key]
        kept = ((each.name, getattr(known, each.name)) for each in fields(Dependant))
        # What the route adds is its own.
        lists: dict[str, Any] = {name: list(value) for name, value in kept if isinstance(value, list)}
        return replace(known, call=call, **lists)


class _Signatures:
    """The parameters of functions, and of what is called like one; their defaults are each one's own."""

    def __init__(self) -> None:
        self._known: dict[tuple[CodeType, bool], Signature] = {}

    def __call__(self, call: Callable[..., Any]) -> Signature:
        if (function := _written(call)) is None:
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


class _Returned:
    """What functions return."""

    def __init__(self) -> None:
        self._known: dict[CodeType, Any] = {}

    def __call__(self, call: Callable[..., Any]) -> Any:
        if (function := _written(call)) is None:
            return get_typed_return_annotation(call)
        if function.__code__ not in self._known:
            self._known[function.__code__] = get_typed_return_annotation(call)
        return self._known[function.__code__]


def _written(call: Callable[..., Any]) -> FunctionType | None:
    """Return the function that is called, where its annotations are as they were written; those of a closure may be its own."""
    if isinstance(call, MethodType):
        function: object = call.__func__
    else:
        function = call if isinstance(call, FunctionType | type) else type(call).__call__
    if not isinstance(function, FunctionType) or hasattr(function, "__wrapped__"):
        return None
    return function if all(isinstance(each, str) for each in function.__annotations__.values()) else None
