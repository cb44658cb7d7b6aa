"""A user for each role of the portal, with passwords that are generated for each demo, and an API token."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from secrets import SystemRandom
from typing import Final

from rich.table import Table

from alerts.persistence.clock import Clock
from alerts.persistence.store import AuditEntry
from monitor.access.api_token import MAX_TOKEN_LIFETIME
from monitor.access.role import Role, parse_assignment
from monitor.service.access.secret import hash_password
from monitor.service.access.tokens import ProgramTokens
from monitor.store.admin.tokens import TokenRecords
from monitor.store.admin.users import Users
from monitor.store.backend.database import Database
from pantau_lab.world import AGENCIES, CLERK, NOC

#: Words for passwords. Three of them and four digits are easy to type.
WORDS: Final = [
    "awan",
    "belimbing",
    "cempaka",
    "delima",
    "embun",
    "fajar",
    "gerimis",
    "hujan",
    "intan",
    "jambatan",
    "kenanga",
    "lautan",
    "melati",
    "nelayan",
    "ombak",
    "pelangi",
    "rembulan",
    "sawah",
    "tanjung",
    "ufuk",
    "waja",
    "bayu",
    "cengal",
    "damar",
    "engkabang",
    "gaharu",
    "halia",
    "ilalang",
    "jering",
    "keranji",
    "langsat",
    "merbau",
    "nibung",
    "petai",
    "rambai",
    "selasih",
    "temu",
    "ulam",
    "bertam",
    "cendana",
    "dedap",
    "gambir",
    "keledang",
    "lontar",
    "meranti",
    "nipah",
    "pulai",
    "rotan",
    "seraya",
    "tualang",
]
_RANDOM: Final = SystemRandom()
#: Actor in the audit log.
_ACTOR: Final = "pantau demo"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoLogin:
    """Login of a demo user."""

    #: Name to sign in with.
    name: str
    full_name: str
    #: Role, with an agency's code if it is limited to that agency: "officer:JCM".
    role: str
    password: str = field(repr=False)


def demo_logins() -> Sequence[DemoLogin]:
    """Return a login for each role, with new passwords."""
    agency = AGENCIES[0]
    people = (
        ("penonton", "Pemerhati Contoh", "viewer"),
        ("ali", agency.deputy.name, f"officer:{agency.code}"),
        ("kerani", CLERK, "clerk"),
        ("siti", agency.duty.name, f"duty:{agency.code}"),
        ("noc", NOC.name, "noc"),
        ("pentadbir", "Pentadbir Contoh", "admin"),
    )
    return [DemoLogin(name=name, full_name=full, role=role, password=new_password()) for name, full, role in people]


def new_password() -> str:
    """Return a new password that the portal accepts: "rotan-fajar-delima-4071"."""
    return "-".join([*_RANDOM.sample(WORDS, 3), str(_RANDOM.randrange(1000, 10_000))])


async def add_users(database: Database, clock: Clock, logins: Sequence[DemoLogin]) -> None:
    """Create the users with their passwords, without invitation codes. No service may have the database open."""
    users = Users(database)

    def audit_entry(event: str, login: DemoLogin, **detail: str) -> AuditEntry:
        return AuditEntry(at=clock.now(), actor=_ACTOR, event=event, detail={"user": login.name, **detail})

    for login in logins:
        user = await users.add(login.name, login.full_name, audit_entry("user made", login, name=login.full_name))
        await users.assign(user, {parse_assignment(login.role)}, audit_entry("roles given", login, roles=login.role))
        password_hash = await asyncio.to_thread(hash_password, login.password)
        await users.choose_password(user, password_hash, audit_entry("password made", login))


async def add_token(database: Database, clock: Clock, agencies: Collection[str]) -> str:
    """Create an API token with the role viewer, and return its secret. *agencies*: codes of the existing agencies."""
    tokens = ProgramTokens(TokenRecords(database), clock, agencies=lambda: agencies)
    token = await tokens.create("demo", [Role.VIEWER], MAX_TOKEN_LIFETIME, by=_ACTOR)
    return token.secret.text


def write_logins(file: Path, logins: Sequence[DemoLogin]) -> None:
    """Write the logins to a file that only its owner may read."""
    write_private(file, "".join(f"{each.role}\t{each.name}\t{each.password}\n" for each in logins))


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    file.touch(mode=0o600)
    file.write_text(text)


def login_table(logins: Sequence[DemoLogin]) -> Table:
    """Return the logins as a table for the terminal."""
    table = Table("sign in as", "name", "password", box=None, pad_edge=False)
    for each in logins:
        table.add_row(each.role, each.name, each.password)
    return table
