"""Initial data of the demo's database: users, ninety days of history, and agency documents that officers can edit."""

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
from pantau_lab.seed.history_writer import write_history
from pantau_lab.seed.login import DemoLogin, add_token, add_users, write_private
from pantau_lab.seed.sample_history import sample_history


async def write_initial_data(settings: Path, logins: Sequence[DemoLogin]) -> str:
    """Write users and history to the database of a service that has never run; return an API token with the role viewer.

    *settings*: the service's settings file.
    """
    clock = SystemClock()
    configuration = (await asyncio.to_thread(load, settings, os.environ)).require_configuration()
    agencies = configuration.registry.agencies
    with _quiet():
        async with _store_of(configuration) as database:
            await write_history(database, configuration, sample_history(clock.now()))
            await add_users(database, clock, logins)
            return await add_token(database, clock, agencies)


async def move_agencies_to_database(settings: Path) -> None:
    """Copy the agency files to the database, where officers can edit them, and configure a key for secrets."""
    configuration = (await asyncio.to_thread(load, settings, os.environ)).require_configuration()
    with _quiet():
        async with _store_of(configuration) as database:
            documents = Documents(database)
            await documents.store_files(configuration.documents, by="demo", now=SystemClock().now())
    await asyncio.to_thread(_read_agencies_from_database, settings)


def _store_of(configuration: Configuration) -> AbstractAsyncContextManager[Database]:
    """Open the database of the service."""
    settings = configuration.settings
    return Database.open(settings.state_dir, None if settings.store is None else settings.store.build())


def _read_agencies_from_database(settings: Path) -> None:
    """Change the settings file, so that the service reads the agencies from its database."""
    write_private(settings.parent / "secrets" / "key", new_key())
    text = settings.read_text().replace("agencies: agencies/", f"agencies: {IN_DATABASE}")
    settings.write_text(text.replace("portal: {}", "portal: {secrets_key_file: secrets/key}"))


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress log events about the invented history, which a user would take for current ones."""
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield
    finally:
        structlog.configure(wrapper_class=before)
