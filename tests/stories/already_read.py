"""What a service reads and finds out while it lives, found out once by the process that all services of the stories come from.

It takes as long as all else that most of them do: libraries that are imported where they are used, the schemas of routes, and
all else that is made when it is first wanted. So a service lives here, once; what it has read and found out is left of it.
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
from pantau_lab.environment import stage
from tests.once import found_once
from tests.stories.theatre import BRISK, JCM

#: People sign in: such a portal has all pages. What it counts it tells us all the same.
_SETTINGS: Final = {"portal": {"metrics_networks": ["127.0.0.1"]}}
_PROVEN: Final = re.compile(rf'pantau_probe_runs_total{{agency="{JCM.code}",.*verdict="good"}} [1-9]')


async def _live() -> None:
    """Live until mail of an agency is proven to work."""
    with TemporaryDirectory() as scratch:
        async with (
            asyncio.timeout(PATIENCE),
            stage(Path(scratch), timing=BRISK, agencies=(JCM,), settings=_SETTINGS) as world,
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


# What each route asks for is half of the start of a service, what is compiled of its statements a tenth.
_never_closed: Final = found_once()
# Nobody reads what that one says.
with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
    asyncio.run(_live())

import_module("monitor.cli.operation.run")
# The portal above is one of those that people sign in to.
page_templates(signs_in=False, openid="", site="")

# Those that come from here look through none of this: to do so costs each as much as all else of its start.
gc.collect()
gc.freeze()
