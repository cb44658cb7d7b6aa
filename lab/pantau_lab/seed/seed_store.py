"""What is in the demo's store before its service opens it: who may sign in, ninety days of history, and what officers edit."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path

import structlog

from alerts.persistence.clock import SystemClock
from monitor.config.files.section import IN_DATABASE
from monitor.config.loading import Configuration, load
from monitor.store.admin.documents import Documents
from monitor.store.admin.keyring import new_key
from monitor.store.backend.database import Database
from pantau_lab.seed.history_writer import write_past
from pantau_lab.seed.login import DemoLogin, add_token, add_users, write_private
from pantau_lab.seed.sample_history import past_until


async def prologue(settings: Path, logins: Sequence[DemoLogin]) -> str:
    """Write it all into the store of a service that has never run, by its *settings*; return a token by which a program may look."""
    clock = SystemClock()
    configuration = (await asyncio.to_thread(load, settings, os.environ)).accepted()
    agencies = configuration.registry.agencies
    with _quiet():
        async with _store_of(configuration) as database:
            await write_past(database, configuration, past_until(clock.now()))
            await add_users(database, clock, logins)
            return await add_token(database, clock, agencies)


async def handed_to_officers(settings: Path) -> None:
    """Let the agencies be the store's from now on, so that who signs in as an officer edits theirs; and keep what they type."""
    configuration = (await asyncio.to_thread(load, settings, os.environ)).accepted()
    with _quiet():
        async with _store_of(configuration) as database:
            documents = Documents(database)
            await documents.follow(configuration.documents, by="demo", now=SystemClock().now())
    await asyncio.to_thread(_hand_over, settings)


def _store_of(configuration: Configuration) -> AbstractAsyncContextManager[Database]:
    """Open the store that the service is to open."""
    settings = configuration.settings
    return Database.open(settings.state_dir, None if settings.store is None else settings.store.build())


def _hand_over(settings: Path) -> None:
    write_private(settings.parent / "secrets" / "key", new_key())
    text = settings.read_text().replace("agencies: agencies/", f"agencies: {IN_DATABASE}")
    settings.write_text(text.replace("portal: {}", "portal: {secrets_key_file: secrets/key}"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing of what is long over: whoever watches the terminal would take it for news."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(wrapper_class=before)
