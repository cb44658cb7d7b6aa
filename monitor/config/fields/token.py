"""A token by which a program of ours is known: long enough that nobody guesses it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, SecretStr

from monitor.model.said import said

#: What cannot be guessed over loopback in any time that matters.
_SHORTEST = 24


def _long_enough(token: SecretStr) -> SecretStr:
    if len(token.get_secret_value()) < _SHORTEST:
        raise ValueError(
            said("a token has at least {shortest} characters; make one with: openssl rand -hex 32", shortest=_SHORTEST)
        )
    return token


Token = Annotated[SecretStr, AfterValidator(_long_enough)]
