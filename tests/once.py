"""What is found out again and again, and is always the same, found out once a process."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, Dialect, Engine, event
from sqlalchemy.util import LRUCache

from alerts.wording.sms import WorstCase
from alerts.wording.texts import Wording, load
from tests.routes import read_once


def found_once() -> ExitStack:
    """Begin to find out nothing again, until the stack is closed: hundreds of tests want a portal, a store, a configuration."""
    # Each portal after the first takes a tenth of the time.
    begun = read_once()
    # Half of what a configuration of two files takes to be read.
    begun.enter_context(patch("monitor.config.loading.WorstCase", _worst_case))
    share = _Statements().share
    event.listen(Engine, "engine_connect", share)
    begun.callback(event.remove, Engine, "engine_connect", share)
    return begun


def _worst_case(wording: Wording) -> WorstCase:
    """Return the longest SMS; those of the texts that ship are made once."""
    return _ours() if wording is load() else WorstCase(wording)


@cache
def _ours() -> WorstCase:
    return WorstCase(load())


class _Statements:
    """What was compiled of the statements of one store, for all stores of the process: they say the same."""

    def __init__(self) -> None:
        #: By the kind of database, its driver and its version.
        self._known: dict[object, tuple[Dialect, Any]] = {}

    def share(self, connection: Connection) -> None:
        engine, own = connection.engine, connection.dialect
        # Until it has asked the database what it is, it is nobody's but its own.
        if version := getattr(own, "server_version_info", None):
            kept = self._known.setdefault((type(own), version), (own, LRUCache(5000)))
            connection.dialect, _ = engine.dialect, engine._compiled_cache = kept
