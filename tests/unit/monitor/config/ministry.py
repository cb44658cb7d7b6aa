"""A small valid configuration for tests that break it.

Its telephone numbers are reserved for fiction by Ofcom and the NANPA: valid and unassigned.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr

from alerts.model.channel import Channel
from alerts.model.gateway import Gateway, GatewayContext, GatewayKind
from monitor.config.loading import LoadCache, LoadResult, load

SECRET = "kata-laluan-contoh"

SETTINGS = """\
agencies: agencies/
state_dir: state
site: putrajaya
references:
  rujukan-a:
    address: pantau@rujukan-a.gov.my
    smtp: {host: mel.rujukan-a.gov.my}
    imap: {host: mel.rujukan-a.gov.my}
    login: {username: pantau, password_file: secrets/mail}
  rujukan-b:
    address: pantau@rujukan-b.edu.my
    smtp: {host: mel.rujukan-b.edu.my}
    imap: {host: mel.rujukan-b.edu.my}
    login: {username: pantau, password_env: RUJUKAN_B}
gateways:
  sms: [{gateway: pigeon, token_file: secrets/mail}]
  voice: [{gateway: crier}]
  fax: [{gateway: telex}]
  letter: [{gateway: runner}]
contacts:
  rahim:
    name: Rahim bin Contoh
    sms: "+1 202-555-0101"
noc:
  name: Pusat Operasi Contoh
  escalation:
    steps:
      - {contacts: [rahim], channels: [sms]}
"""

#: The section that makes the first reference a pool.
POOL = """\
    pool:
      - address: satu@rujukan-a.gov.my
        smtp: {host: mel.rujukan-a.gov.my}
        imap: {host: mel.rujukan-a.gov.my}
        login: {username: satu, password_file: secrets/mail}
      - address: dua@rujukan-a.gov.my
        smtp: {host: mel.rujukan-a.gov.my}
        imap: {host: mel.rujukan-a.gov.my}
        login: {username: dua, password_file: secrets/mail}
"""

AGENCY = """\
agency: JCONTOH
name: Jabatan Contoh Malaysia
domains: [jabatan-contoh.gov.my]
letterhead:
  address: [Aras 1, 62000 PUTRAJAYA]
  telephone: "+44 20 7946 0100"
  fax: "+44 20 7946 0101"
  hours: 8.00 pagi - 5.00 petang
  signatory: {name: Siti binti Contoh, post: Setiausaha}
  contact_officer: {name: Ali bin Contoh, post: Pegawai, telephone: "+44 20 7946 0102"}
mailboxes:
  utama:
    address: pantau@jabatan-contoh.gov.my
    smtp: {host: smtp.gmail.com}
    imap: {host: imap.gmail.com}
    login: {username: pantau, password_file: secrets/mail}
contacts:
  siti:
    name: Siti binti Contoh
    sms: "+1 202-555-0102"
    voice: "+44 20 7946 0103"
    extension: "103"
escalation:
  steps:
    - {contacts: [siti], channels: [sms, voice]}
    - {after: 5m, contacts: [rahim], channels: [sms]}
announcement:
  recipients:
    kementerian:
      title: Ketua Setiausaha
      organisation: Kementerian Contoh
      address: [Aras 9, 62000 PUTRAJAYA]
      fax: "+44 20 7946 0104"
      channels: [fax, letter]
"""


class NoSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Pigeon(NoSettings):
    token: SecretStr
    old_tokens: tuple[SecretStr, ...] = ()
    loft: str = "atas"
    retries: int = 0


def _build(config: Any, context: GatewayContext) -> Gateway:
    raise NotImplementedError


def _kind(name: str, channel: Channel, config: type[BaseModel] = NoSettings) -> GatewayKind:
    return GatewayKind(name=name, channel=channel, config=config, build=_build)


KINDS = {
    kind.name: kind
    for kind in (
        _kind("pigeon", Channel.SMS, Pigeon),
        _kind("crier", Channel.VOICE),
        _kind("telex", Channel.FAX),
        _kind("runner", Channel.LETTER),
    )
}


class Ministry:
    """A configuration in a directory. Its files have short names: "pantau", "jabatan"."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environ: dict[str, str] = {"RUJUKAN_B": SECRET}
        (directory / "agencies").mkdir()
        (directory / "secrets").mkdir()
        self.put_secret("mail", SECRET + "\n")
        self.write("pantau", SETTINGS)
        self.write("jabatan", AGENCY)

    def path(self, file: str) -> Path:
        return self.directory / ("pantau.yaml" if file == "pantau" else f"agencies/{file}.yaml")

    def write(self, file: str, text: str) -> None:
        self.path(file).write_text(text, encoding="utf-8")

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace each *old*, which must exist, in the file."""
        text = self.path(file).read_text(encoding="utf-8")
        assert old in text, old
        self.write(file, text.replace(old, new))

    def pool(self) -> None:
        """Make the first reference a pool of two mailboxes."""
        text = self.path("pantau").read_text(encoding="utf-8")
        begin, end = text.index("    address: pantau@rujukan-a"), text.index("  rujukan-b:")
        self.write("pantau", text[:begin] + POOL + text[end:])

    def put_secret(self, name: str, text: str, mode: int = 0o600) -> None:
        secret = self.directory / "secrets" / name
        secret.write_text(text, encoding="utf-8")
        secret.chmod(mode)

    def load(
        self, environ: Mapping[str, str] | None = None, *, now: datetime | None = None, cache: LoadCache | None = None
    ) -> LoadResult:
        return load(self.path("pantau"), self.environ | dict(environ or {}), kinds=KINDS, now=now, cache=cache)

    def problems(self, environ: Mapping[str, str] | None = None) -> list[str]:
        """Return the output of `pantau check`, with paths relative to the directory of the settings file."""
        written = (str(problem) for problem in self.load(environ).problems)
        return [line.replace(f"{self.directory}/", "").replace(str(self.directory), ".") for line in written]


def second_agency(*edits: tuple[str, str]) -> str:
    """Return the file of a second agency without conflicts with the first, after *edits*."""
    text = AGENCY.replace("JCONTOH", "MPCONTOH").replace("pantau@jabatan-contoh", "kedua@jabatan-contoh")
    text = text.replace("username: pantau", "username: kedua@jabatan-contoh.gov.my")
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return text
