"""PINs: read as any secret, and kept only as hashes."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, SecretStr

from alerts.inbound.pin import hashed, objection


def _kept(pin: SecretStr) -> SecretStr:
    """Return the hash of a PIN. Raise `ValueError`, which does not repeat it, for one that will not do."""
    if (wrong := objection(pin.get_secret_value())) is not None:
        raise ValueError(wrong)
    return SecretStr(hashed(pin.get_secret_value()))


#: The salted hash of what the file or the variable holds.
Pin = Annotated[SecretStr, AfterValidator(_kept)]
