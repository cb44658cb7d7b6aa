"""Access to the configuration files for commands that work without the running service."""

from __future__ import annotations

import os
from pathlib import Path

from monitor.cli.service import fail
from monitor.config.files.document import read_document
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Severity
from monitor.config.files.reading import M, Reader
from monitor.config.files.secret import SecretResolver
from monitor.config.loading import Configuration, ConfigurationError, load
from monitor.config.service.store import StoreSettings
from monitor.store.admin.unopened import StoreUnreadableError
from monitor.store.backend.postgres import PostgresServer


def load_configuration(path: Path) -> Configuration:
    """Read the configuration, or end the command with all its problems (exit code 2)."""
    try:
        return load(path, os.environ).require_configuration()
    except ConfigurationError as error:
        fail("\n".join(str(problem) for problem in error.problems), 2)
    except StoreUnreadableError as unavailable:
        fail(str(unavailable))


def read_section(path: Path, key: str, model: type[M]) -> M | None:
    """Return the section *key* of the settings file as *model*; `None` if the section is missing.

    Other sections may be invalid. End the command if this section is invalid (exit code 2).
    """
    document = read_document(path)
    if document.data.get(key) is None:
        return None
    findings = Findings(document)
    reader = Reader(findings, SecretResolver(directory=path.parent, environ=os.environ))
    settings = reader.read(model, document.data[key], (key,))
    if settings is None or findings[key].is_broken:
        fail("\n".join(str(problem) for problem in findings.problems if problem.severity is Severity.ERROR), 2)
    return settings


def read_store_server(path: Path) -> PostgresServer | None:
    """Return the PostgreSQL server of the store (the database); `None` if the store is an SQLite file.

    Other sections of the settings may be invalid. End the command if `store` is invalid (exit code 2).
    """
    settings = read_section(path, "store", StoreSettings)
    return None if settings is None else settings.build()
