"""FastAPI's schemas of what routes take and give, made once a process: a portal has two hundred, and all portals the same."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from pydantic import TypeAdapter


def made_once() -> Any:
    """Return the patch: in its context, or from its start on, an equal schema is not made again."""
    made: dict[str, TypeAdapter[Any]] = {}

    def made_or_known(kind: Any, *, config: Any = None) -> TypeAdapter[Any]:
        key = repr((kind, config))
        if "<locals>" in key:  # Of these two may be called alike.
            return TypeAdapter(kind, config=config)
        if key not in made:
            made[key] = TypeAdapter(kind, config=config)
        return made[key]

    return patch("fastapi._compat.v2.TypeAdapter", made_or_known)
