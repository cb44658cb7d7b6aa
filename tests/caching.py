"""Caches of results that are the same in every test of a process."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.util import LRUCache

from alerts.wording.sms import WorstCase
from alerts.wording.texts import Wording, load
from tests.route_caching import cache_routes


def cache_setup() -> ExitStack:
    """Cache what hundreds of portals, stores and configurations compute, until the returned stack is closed."""
    # A portal after the first takes a tenth of the time.
    patches = cache_routes()
    # Half of the time to load a configuration of two files.
    patches.enter_context(patch("monitor.config.loading.WorstCase", _worst_case))
    share = _Statements().share
    event.listen(Engine, "engine_connect", share)
    patches.callback(event.remove, Engine, "engine_connect", share)
    return patches


def _worst_case(wording: Wording) -> WorstCase:
    """Return the longest SMS; that of the built-in texts is cached."""
    return _default_worst_case() if wording is load() else WorstCase(wording)


@cache
def _default_worst_case() -> WorstCase:
    return WorstCase(load())


class _Statements:
    """Cache of compiled statements, shared by all stores of the process."""

    def __init__(self) -> None:
        #: By dialect and version of the server.
        self._known: dict[object, tuple[Dialect, Any]] = {}

    def share(self, connection: Connection) -> None:
        engine, own = connection.engine, connection.dialect
        # Before its version is known, a dialect is not shared.
        if version := getattr(own, "server_version_info", None):
            kept = self._known.setdefault((type(own), version), (own, LRUCache(5000)))
            connection.dialect, _ = engine.dialect, engine._compiled_cache = kept
