"""What holds for every test."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest
import structlog
from _pytest.runner import runtestprotocol
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

import monitor.store.backend.sqlite
from monitor.store.schema.migrations import upgrade
from tests.caching import cache_setup
from tests.in_memory import in_memory
from tests.real.postgres import Postgres

if TYPE_CHECKING:
    from alembic.config import Config

# How long an example takes is the machine's affair: what it costs is measured in the bench.
settings.register_profile("pantau", deadline=None)
settings.load_profile("pantau")

# Whoever names a place has it. All processes that a run starts are told.
if "TMPDIR" not in os.environ and (_memory := in_memory()):
    os.environ["TMPDIR"] = tempfile.tempdir = str(_memory)

#: Files whose tests take longest. Begun last, they would keep one process busy while the others have nothing to do.
LONGEST = (
    # The journeys in a browser, and with it all others.
    "test_every_page",
    "test_demo_sites",
    "test_attribution_on_three_systems",
    "test_prometheus",
    "test_alert_rules",
    "test_error_budget",
    "test_letter",
    "test_final_search",
    "test_roundtrip_run",
    "test_fax",
    "test_alertmanager",
    "test_thousand_runs",
    "test_restored_copy",
    "test_crash_matrix",
    "test_monitoring_fault",
    "test_shared_store",
    "test_outage",
    "test_proof",
    "test_database_unavailable",
    "test_self_health",
    "test_watchdog",
    "test_notification_limits",
    "test_dispatcher",
    "test_two_engines",
    "test_escalation_story",
    "test_replies",
    "test_init_command",
    "test_monitor_only",
    "test_crash",
    "test_config_cache",
)
_STORIES = "tests/stories/"
#: Share one service and one browser, whichever file they are in.
_BROWSER = "tests/browser/"


class _Together(LoadFileScheduling):
    """Gives a process a file after another, whose tests share what they start, or a single story, which shares nothing."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(_BROWSER):
            return _BROWSER
        return nodeid if nodeid.startswith(_STORIES) else super()._split_scope(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Together | None:
    """Hand the work out in our order: xdist would begin with the files that have most tests, and end with the longest."""
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return _Together(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest. Spread the stories, which wait most of the time, among what keeps a core busy."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    scopes: tuple[dict[str, list[pytest.Item]], ...] = ({}, {})
    for item in items:
        is_story = item.nodeid.startswith(_STORIES)
        whole = _BROWSER if item.nodeid.startswith(_BROWSER) else str(item.path)
        scopes[is_story].setdefault(item.nodeid if is_story else whole, []).append(item)
    spread = [((number + 0.5) / len(queue), scope) for queue in scopes for number, scope in enumerate(queue.values())]
    items[:] = [item for _, scope in sorted(spread, key=itemgetter(0)) for item in scope]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Set thousands of tests aside: the collector would go through them again and again, and find nothing.

    Not while they are collected either, which takes a quarter less without it, in each of the processes. And later it looks
    at the young as seldom as in the service (`monitor.runtime.gc_control`): a portal took a quarter of its time for that.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(10_000, *gc.get_threshold()[1:])


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Tell the process that hands the work out what it shows of a test, and no more: two messages of six, thousands of times."""
    if not hasattr(item.config, "workerinput") or item.config.option.durations:
        return None
    for report in runtestprotocol(item, log=False, nextitem=nextitem):
        if report.when == "call" or not report.passed:
            item.ihook.pytest_runtest_logreport(report=report)
    return True


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a command sets up for its own standard error, which is closed when its test ends."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def _what_was_raised_is_logged_plainly() -> Iterator[None]:
    """Leave the variables of each frame out of what is logged: to draw them takes longer than most of what failed."""
    structlog.reset_defaults()
    renderer = structlog.get_config()["processors"][-1]
    drawn, renderer.exception_formatter = renderer.exception_formatter, structlog.dev.plain_traceback
    yield
    renderer.exception_formatter = drawn


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL of our own, for all tests of this process: each makes a database."""
    with Postgres(in_memory=True) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def _what_is_always_the_same_is_found_out_once() -> Iterator[None]:
    with cache_setup():
        yield


@pytest.fixture(scope="session", autouse=True)
def _migrations_are_read_once() -> Iterator[None]:
    """Read the files of the migrations once: half of what an upgrade takes that has little to do."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - whoever hands the tests out needs none of it

    read, known = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def read_or_known(config: Config) -> ScriptDirectory:
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    with patch.object(ScriptDirectory, "from_config", read_or_known):
        yield


@pytest.fixture(scope="session", autouse=True)
def _stores_are_copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Make the tables of a file once: to run the migrations takes longer than most of the tests that want a store."""
    made = tmp_path_factory.mktemp("made") / "pantau.sqlite"
    upgrade(f"sqlite:///{made}")

    def made_or_upgraded(url: str) -> None:
        file = Path(url.removeprefix("sqlite:///"))
        if file.stat().st_size == 0:
            shutil.copyfile(made, file)
        else:
            upgrade(url)

    with patch.object(monitor.store.backend.sqlite, "upgrade", made_or_upgraded):
        yield
