"""`pantau token` and `pantau user` with a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from monitor.service.access.administration import Administration
from monitor.service.access.tokens import ProgramTokens
from monitor.store.admin.tokens import TokenRecords
from monitor.store.admin.users import SecondFactors, Users
from monitor.store.backend.database import Database
from monitor.web.command.access import token_commands, user_commands
from monitor.web.command.control import control
from tests.integration.alerts.dispatcher_env import DispatcherEnv
from tests.unit.monitor.cli.office import IssuingOffice
from tests.unit.monitor.web.fake_service import Service, client

ADD = ("token", "add", "konsol-noc", "--role", "duty:jcontoh", "--role", "viewer", "--for", "90d", "--by", "Bos Contoh")


@pytest.fixture
async def tokens(office: IssuingOffice, tmp_path: Path) -> AsyncIterator[ProgramTokens]:
    async with Database.open(tmp_path / "store") as database:
        program_tokens = ProgramTokens(
            TokenRecords(database), DispatcherEnv(database).clock, agencies=lambda: ["JCONTOH"]
        )
        async with office.open(Service(), token_commands(program_tokens)):
            yield program_tokens


async def test_token_is_added_shown_once_listed_and_revoked(office: IssuingOffice, tokens: ProgramTokens) -> None:
    assert (await office.ask("token", "list"))[1].startswith("There are no tokens")
    code, output = await office.ask(*ADD)
    assert code == 0
    assert "Token 1 for konsol-noc: duty:JCONTOH, viewer, until 22/02/2027 14:15." in output
    secret = output.splitlines()[-1]
    assert secret.startswith("pantau_")

    _, listed = await office.ask("token", "list")
    assert all(word in listed for word in ("konsol-noc", "Bos Contoh", "never"))
    # The command uses the clock of the machine, which may be later than that day.
    assert ("until 22/02/2027" in listed) is (datetime.now(UTC) < datetime(2027, 2, 22, 6, 15, tzinfo=UTC))
    assert ("over since 22/02/2027" in listed) is ("until 22/02/2027" not in listed)
    assert secret not in listed

    code, output = await office.ask("token", "revoke", "1")
    assert (code, output) == (0, "Token 1 of konsol-noc is revoked.\n")
    assert "revoked 24/11/2026 14:15" in (await office.ask("token", "list"))[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((*ADD[:-3], "2y", "--by", "Bos"), "write --for 90d"),
        ((*ADD[:-3], "400d", "--by", "Bos"), "366 days at most"),
        ((*ADD[:-3], "30m", "--by", "Bos"), "an hour at least"),
        (("token", "add", "konsol", "--role", "raja", "--for", "90d"), "'raja' is no role"),
        (("token", "add", "konsol", "--role", "viewer:ZZZ", "--for", "90d"), "there is no agency ZZZ"),
        (("token", "revoke", "7"), "there is no token 7"),
    ],
)
async def test_token_invalid_arguments_are_refused(
    office: IssuingOffice, tokens: ProgramTokens, words: tuple[str, ...], message: str
) -> None:
    code, output = await office.ask(*words)
    assert code == 1
    assert message in output


async def test_user_add_prints_code_and_invite_keeps_response_fields(office: IssuingOffice, tmp_path: Path) -> None:
    async with Database.open(tmp_path / "store") as database:
        users = Administration(
            Users(database),
            DispatcherEnv(database).clock,
            agencies=lambda: ["JCONTOH"],
            factors=SecondFactors(database),
        )
        async with office.open(Service(), user_commands(users)):
            code, output = await office.ask("user", "add", "siti", "Siti Contoh", "--role", "officer:jcontoh")
        assert (code, output.splitlines()[0]) == (0, "Siti Contoh may sign in as siti: officer:JCONTOH.")
        assert output.splitlines()[-1].startswith("Siti Contoh opens /welcome")
        # An upgrade replaces the commands before the service restarts.
        async with client(control(Service(), user_commands(users))) as web:
            answer = (await web.post("/users/siti/invite", json={"by": "Ujian", "kind": "letter"})).json()
    assert {each: type(answer[each]) for each in answer} == dict.fromkeys(("name", "full_name", "code", "ends_at"), str)
    assert (answer["name"], answer["full_name"]) == ("siti", "Siti Contoh")
