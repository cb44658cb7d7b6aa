"""What was made of the configuration before, so that what has not changed is not made anew when it is read again."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from alerts.wording.texts import Wording
from monitor.config.fields.trust import NoTrust, Trust
from monitor.config.files.findings import Findings
from monitor.config.files.problem import Problem
from monitor.config.files.secret import SecretSighting, Vault
from monitor.config.model.provision import Provision
from monitor.config.model.registry import Agency, Registry
from monitor.config.sense.duplicate import Claim


@dataclass(slots=True, kw_only=True)
class Filed:
    """What was made of an agency file. Each part holds for as long as what it was made of is the same."""

    #: Of reading it: the file itself, and the secrets that it names.
    agency: Agency | None
    read: Findings
    secrets: Sequence[SecretSighting]
    #: Of checking it by itself: what the settings provide, and the authorities that it names.
    checked: Findings
    claims: Sequence[Claim] = ()
    provision: Provision | None = None
    authorities: Mapping[Path | None, ssl.SSLContext | str] = field(default_factory=dict)
    #: Of its SMS: the wording.
    texts: Sequence[Problem] = ()
    wording: Wording | None = None

    def is_read_from(self, vault: Vault) -> bool:
        """Whether reading it again would give the same, if the file is the same."""
        return vault.still_sees(self.secrets)

    def is_checked_by(self, provision: Provision, trust: Trust) -> bool:
        """Whether checking it again would give the same."""
        return self.provision is provision and all(
            authority(trust, file) == context for file, context in self.authorities.items()
        )


def authority(trust: Trust, file: Path | None) -> ssl.SSLContext | str:
    """Return the trust in the authorities of a file, or why it cannot be used."""
    try:
        return trust.context(file)
    except NoTrust as error:
        return str(error)


@dataclass(slots=True, kw_only=True)
class Memory:
    """What outlives one reading of the configuration. For one reading at a time: hold `lock`."""

    trust: Trust = field(default_factory=Trust)
    files: dict[Path, Filed] = field(default_factory=dict)
    #: The same objects for as long as they say the same.
    provision: Provision = field(default_factory=Provision)
    wording: Wording | None = None
    #: The agencies at work: a mailbox that has not changed stays the one that is in use, with its access token.
    in_force: Registry | None = None
    #: A reading in a thread whose caller has been cancelled goes on to its end.
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def same_provision(self, provision: Provision) -> Provision:
        """Return the one that says the same as *provision*, from now on this."""
        if provision != self.provision:
            self.provision = provision
        return self.provision

    def same_wording(self, wording: Wording | None) -> Wording | None:
        """Return the one that says the same as *wording*, from now on this."""
        if wording is not None and wording != self.wording:
            self.wording = wording
        return None if wording is None else self.wording
