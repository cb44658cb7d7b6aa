"""Preload of the fork server: whatever a service imports and caches while it runs.

Late imports, the schemas of routes and other caches take as long as the rest of most stories. So a service runs here
once, and its imports and caches stay.
"""

from __future__ import annotations

import asyncio
import gc
import re
from contextlib import redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import httpx

from monitor.app import App
from monitor.web.portal import page_templates
from pantau_lab.carrier.phone import PATIENCE
from pantau_lab.environment import demo_environment
from tests.caching import cache_setup
from tests.stories.running_service import FAST_TIMING, JCM

#: With sign-in the portal has all pages; the metrics stay readable.
_SETTINGS: Final = {"portal": {"metrics_networks": ["127.0.0.1"]}}
_PROVEN: Final = re.compile(rf'pantau_probe_runs_total{{agency="{JCM.code}",.*verdict="good"}} [1-9]')


async def _live() -> None:
    """Run until mail of an agency is proven."""
    with TemporaryDirectory() as scratch:
        async with (
            asyncio.timeout(PATIENCE),
            demo_environment(Path(scratch), timing=FAST_TIMING, agencies=(JCM,), settings=_SETTINGS) as world,
            httpx.AsyncClient(base_url=world.url, trust_env=False) as web,
            asyncio.TaskGroup() as tasks,
        ):
            service = App(world.settings, {})
            tasks.create_task(service.run())
            counted = ""
            while not _PROVEN.search(counted):
                await asyncio.sleep(0.2)
                with suppress(httpx.TransportError):
                    counted = (await web.get("/metrics")).text
            service.stop()


# The routes' schemas are half of the start of a service, the compiled statements a tenth.
_never_closed: Final = cache_setup()
# Its output is not needed.
with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
    asyncio.run(_live())

import_module("monitor.cli.operation.run")
# The portal above has sign-in.
page_templates(signs_in=False, openid="", site="")

# The garbage collector of each service skips these objects: a scan costs as much as the rest of its start.
gc.collect()
gc.freeze()
