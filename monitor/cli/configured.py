"""What a command knows from the configuration, without the running service."""

from __future__ import annotations

import os
from pathlib import Path

from monitor.cli.service import fail
from monitor.config.files.document import read_document
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Severity
from monitor.config.files.reading import Reader
from monitor.config.files.secret import Vault
from monitor.config.loading import BadConfiguration, Configuration, load
from monitor.config.service.store import StoreSettings
from monitor.store.backend.postgres import PostgresServer
from monitor.store.upkeep.unopened import DocumentsAwayError


def configuration(path: Path) -> Configuration:
    """Read the configuration, or end the command with everything that is wrong with it (exit code 2)."""
    try:
        return load(path, os.environ).accepted()
    except BadConfiguration as bad:
        fail("\n".join(str(problem) for problem in bad.problems), 2)
    except DocumentsAwayError as away:
        fail(str(away))


def store_server(path: Path) -> PostgresServer | None:
    """Return the server that the store is on, whatever else is wrong with the configuration; `None`: it is a file.

    End the command when that part of the configuration is wrong (exit code 2).
    """
    document = read_document(path)
    if document.data.get("store") is None:
        return None
    findings = Findings(document)
    reader = Reader(findings, Vault(directory=path.parent, environ=os.environ))
    settings = reader.read(StoreSettings, document.data["store"], ("store",))
    if settings is None or findings["store"].is_broken:
        fail("\n".join(str(problem) for problem in findings.problems if problem.severity is Severity.ERROR), 2)
    return settings.build()
