"""Programs that may acknowledge over HTTP, each with a token of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, SecretStr

from monitor.config.files.section import Section

#: What cannot be guessed over loopback in any time that matters.
SHORTEST = 24


def _long_enough(token: SecretStr) -> SecretStr:
    if len(token.get_secret_value()) < SHORTEST:
        raise ValueError(f"a token has at least {SHORTEST} characters; make one with: openssl rand -hex 32")
    return token


class ApiSettings(Section):
    """A program, such as the console of the operations centre."""

    token: Annotated[SecretStr, AfterValidator(_long_enough)]
    """Sent as `Authorization: Bearer ...`."""
