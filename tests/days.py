"""Random escalation plans and the people in them, played for days: what reaches each person, and how long nobody is told.

`.venv/bin/python -m tests.days --plans 40 --days 3` plays many and prints the most that a person gets in an hour, and why;
`tests/integration/alerts/test_days_story.py` plays a few. A plan and what its people do follow from the seed alone.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path

import structlog
from sqlalchemy import select

from alerts.decide.bundle import BUNDLE_INTERVAL
from alerts.hours.calendar import Calendar
from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact
from alerts.model.event import Trigger
from alerts.model.notification import IncidentType, Language
from alerts.model.oncall import Layer, Rota
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, RedialPolicy, Step
from monitor.config.fields.window import MALAYSIA
from monitor.store.schema.tables import audit_log
from pantau_lab.carrier.phone import Call, Phone, PhoneBehaviour, Sms
from tests.integration.alerts.test_escalation_story import auditor_of
from tests.integration.alerts.town import NOC, Round, Town, town_at
from tests.unit.alerts.people import BRIEF

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
#: Monday, 23 November 2026, 14.00 in Malaysia.
BEGINS = datetime(2026, 11, 23, 14, tzinfo=MALAYSIA)
#: How much later than the bound a message may leave: others are gathered for two minutes, and a call takes a while.
SLACK = BUNDLE_INTERVAL + MINUTE
#: Longer than anything is played.
_ONCE = timedelta(days=999)
_NAMES = ("Siti", "Ravi", "Mei", "Ali", "Ketua")


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What somebody does when they are told."""

    #: Hours of the day between which they sleep and answer nothing; equal: never.
    sleeps: tuple[int, int]
    #: Of alerts, how many they answer; of reminders, how many they forget; of what they answer, how much they hand on.
    answers: float
    forgets: float
    hands_on: float
    thinks: timedelta
    #: Between these their telephone is off.
    lost: tuple[timedelta, timedelta] | None = None

    def awake(self, at: datetime) -> bool:
        begins, ends = self.sleeps
        hour = at.astimezone(MALAYSIA).hour
        return not (begins <= hour or hour < ends) if begins > ends else not begins <= hour < ends


@dataclass(slots=True, kw_only=True)
class LivingPhone(Phone):
    """A telephone whose owner decides at each menu which key to press."""

    habits: Habits
    rng: random.Random

    def next_key(self) -> str:
        if self.rng.random() >= self.habits.answers:
            return ""
        return "4" if self.rng.random() < self.habits.hands_on else "1"


@dataclass(slots=True, kw_only=True)
class Scenario:
    """A plan and its people."""

    seed: int
    policy: EscalationPolicy
    habits: dict[str, Habits]
    begins: datetime

    @property
    def bound(self) -> timedelta:
        """How long nobody may be told while nobody has it."""
        return self.policy.max_quiet_period


def contact(name: str, number: str) -> Contact:
    addresses = (Address(channel=Channel.SMS, number=number), Address(channel=Channel.VOICE, number=number))
    return Contact(key=name.lower(), name=f"{name} Contoh", language=Language.MALAY, addresses=addresses)


def scenario(seed: int) -> Scenario:
    """Return what follows from a seed."""
    rng = random.Random(seed)
    people = [contact(name, f"+601000003{n:02d}") for n, name in enumerate(_NAMES[: rng.randint(1, len(_NAMES))])]
    habits = {
        person.addresses[0].number: Habits(
            sleeps=rng.choice([(23, 7), (23, 7), (22, 6), (0, 0)]),
            answers=rng.choice([0.0, 0.3, 0.8, 1.0, 1.0]),
            forgets=rng.choice([0.0, 0.5, 1.0]),
            hands_on=rng.choice([0.0, 0.0, 0.2, 0.6]),
            thinks=rng.choice([1, 3, 10, 40]) * MINUTE,
            lost=(rng.randint(0, 40) * HOUR, rng.randint(41, 72) * HOUR) if rng.random() < 0.2 else None,
        )
        for person in people
    }
    rota = None
    if rng.random() < 0.7:
        layer = Layer(
            people=tuple(rng.sample(people, rng.randint(1, len(people)))), starts_on=date(2026, 11, 23), shift_days=1
        )
        rota = Rota(name="JCM/bertugas", zone=MALAYSIA, handover=time(rng.choice([7, 8, 20])), layers=(layer,))
    steps = []
    for number in range(rng.randint(1, 4)):
        on_rota = rota is not None and rng.random() < 0.6
        channels = rng.choice(
            [(Channel.SMS,), (Channel.VOICE,), (Channel.SMS, Channel.VOICE), (Channel.VOICE, Channel.SMS)]
        )
        again = RedialPolicy(interval=2 * MINUTE, times=rng.randint(1, 5))
        steps.append(
            Step(
                after=rng.choice([1, 5, 10, 15, 30]) * MINUTE if number else rng.choice([0, 0, 0, 10]) * MINUTE,
                contacts=() if on_rota else tuple(rng.sample(people, rng.randint(1, min(2, len(people))))),
                rotas=(rota.name,) if on_rota and rota else (),
                channels=channels,
                redial=again if Channel.VOICE in channels and rng.random() < 0.4 else None,
            )
        )
    named = rota is not None and any(step.rotas for step in steps)
    policy = EscalationPolicy(
        steps=tuple(steps),
        rounds=rng.randint(1, 4),
        repeat_after=rng.choice([5, 15, 30, 60]) * MINUTE,
        acknowledgement_timeout=rng.choice([1, 1, 2, 4]) * HOUR,
        rotas=(rota,) if named and rota else (),
    )
    begins = BEGINS + rng.randint(0, 6 * 24 * 60) * MINUTE
    if rng.random() < 0.8:
        policy = replace(policy, office_hours=OfficeHours(calendar=Calendar(), zone=MALAYSIA))
    return Scenario(seed=seed, policy=policy, habits=habits, begins=begins)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something that reached, or was to reach, somebody of the staff."""

    at: datetime
    to: str
    is_call: bool
    text: str
    keys: str = ""
    #: Not where the telephone was off.
    arrived: bool = True


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of a scenario."""

    scenario: Scenario
    messages: list[Message] = field(default_factory=list)
    lasted: timedelta
    #: What the journal has of the incident, in its order.
    journal: Sequence[tuple[datetime, str]] = ()

    @property
    def overdue(self) -> Counter[str]:
        """What the auditor has found."""
        return Counter(event for _, event in self.journal if event.endswith(" overdue"))

    def unheld(self) -> Iterator[tuple[datetime, datetime, bool]]:
        """Yield from when until when nobody had it, and whether somebody had until then and was not heard of any more."""
        since, held, expired = self.scenario.begins, False, False
        for at, event in self.journal:
            if event == "incident acknowledged":
                yield since, at, expired
                held = True
            elif event in {"acknowledgement expired", "handed on"}:
                if not held:
                    yield since, at, expired
                since, held, expired = at, False, event != "handed on"
        if not held:
            yield since, self.scenario.begins + self.lasted, expired

    def gaps(self) -> Iterator[tuple[datetime, timedelta]]:
        """Yield when nobody was told for longer than the bound while nobody had it, and for how long.

        Not while a telephone had rung as often as it may. After an acknowledgement has expired somebody is told at once.
        """
        throttled = [at for at, event in self.journal if event == "notice held"]
        for begins, ends, expired in self.unheld():
            told = [begins, *(m.at for m in self.messages if begins <= m.at < ends), ends]
            for n, (before, after) in enumerate(pairwise(told)):
                bound = SLACK if expired and not n else self.scenario.bound + SLACK
                if after - before > bound and not any(before - bound <= at <= after for at in throttled):
                    yield before, after - before

    def busiest(self, *, is_call: bool) -> Sequence[Message]:
        """Return the most calls, or SMS, that one person got within an hour, less what a telephone that was off did not get."""
        found: list[Message] = []
        arrived = [m for m in self.messages if m.arrived and m.is_call is is_call]
        for first in arrived:
            theirs = [m for m in arrived if m.to == first.to]
            found = max(found, [m for m in theirs if first.at <= m.at < first.at + HOUR], key=len)
        return found


@dataclass(slots=True)
class _Play:
    town: Town
    scene: Scenario
    rng: random.Random

    def got_sms(self, phone: Phone, text: str) -> None:
        """Let somebody decide whether to answer, and when."""
        if not isinstance(phone, LivingPhone):
            return
        now, habits = self.town.clock.now(), phone.habits
        code = next((word.strip(".") for word in text.split() if re.fullmatch(r"\d+A\.?", word)), None)
        if code is None or not habits.awake(now):
            return
        if self.rng.random() < (habits.forgets if "PERINGATAN" in text else 1 - habits.answers):
            return
        hands_on = self.rng.random() < habits.hands_on
        at = now + habits.thinks
        self.town.rounds.append(Round(_ONCE, partial(self.reply, phone, f"serah {code}" if hands_on else code), at))

    async def reply(self, phone: LivingPhone, text: str) -> None:
        if phone.behaviour is not PhoneBehaviour.OFF:
            await self.town.carrier.answer(phone, text)

    async def behave(self) -> None:
        """Let everybody go to bed, get up, and lose their telephone."""
        now = self.town.clock.now()
        for phone in self.town.carrier.phones.values():
            if not isinstance(phone, LivingPhone):
                continue
            lost = phone.habits.lost
            if lost is not None and lost[0] <= now - self.scene.begins < lost[1]:
                phone.behaviour = PhoneBehaviour.OFF
            elif phone.habits.awake(now):
                phone.behaviour = PhoneBehaviour.ANSWERS
            else:
                phone.behaviour = PhoneBehaviour.NO_ANSWER if self.scene.seed % 2 else PhoneBehaviour.VOICEMAIL


async def play(town: Town, scene: Scenario, days: float) -> Played:
    """Let an outage last that nobody mends, and return what it was like."""
    played, it = Played(scenario=scene, lasted=timedelta(days=days)), _Play(town, scene, random.Random(scene.seed + 1))
    for number, habits in scene.habits.items():
        town.carrier.phones[number] = LivingPhone(
            number=number, habits=habits, rng=random.Random(f"{scene.seed}{number}")
        )
    town.clock.moment = scene.begins
    town.carrier.on_sms = it.got_sms
    town.go_round(HOUR / 4, it.behave)
    town.go_round(17 * MINUTE, auditor_of(town).audit)
    brief: PolicySnapshot = replace(BRIEF, escalation=scene.policy, announcement=AnnouncementPlan())
    await town.submit(
        Trigger(
            dedup_key="JCM", at=scene.begins, type=IncidentType.BOTH, began_at=scene.begins - 2 * MINUTE, policy=brief
        )
    )
    await town.advance(timedelta(days=days))
    async with town.database.read() as connection:
        of_it = select(audit_log.c.at, audit_log.c.event).where(audit_log.c.incident_id == 1).order_by(audit_log.c.id)
        played.journal = [(at, event) for at, event in await connection.execute(of_it)]
    played.messages = sorted(_messages(town, scene), key=lambda m: m.at)
    town.carrier.on_sms = lambda phone, text: None
    things: list[Sms | Call] = [*town.carrier.messages, *town.carrier.calls]
    for thing in things:
        thing.expected = True
    return played


def _messages(town: Town, scene: Scenario) -> Iterator[Message]:
    things: list[Sms | Call] = [*town.carrier.messages, *town.carrier.calls]
    for thing in things:
        # What answers an SMS has no callback, and is no message of an escalation.
        if thing.to in scene.habits and thing.callback:
            keys = thing.keys if isinstance(thing, Call) else ""
            yield Message(
                at=thing.created_at,
                to=thing.to,
                is_call=isinstance(thing, Call),
                text=thing.text,
                keys=keys,
                arrived=thing.status not in {"failed", "undelivered"},
            )


async def played(seed: int, days: float) -> Played:
    """Play the scenario of a seed in a town of its own."""
    with tempfile.TemporaryDirectory() as directory:
        async with town_at(Path(directory)) as town:
            town.carrier.phones.pop(NOC, None)
            town.moves_in(NOC)
            return await play(town, scenario(seed), days)


def report(found: Played) -> str:
    """Return what is worth reading of a scenario, in a few lines."""
    policy = found.scenario.policy
    calls, sms = found.busiest(is_call=True), found.busiest(is_call=False)
    plan = f"{len(policy.steps)} steps, {policy.rounds} rounds, {len(found.scenario.habits)} people"
    most = f"at most {len(calls)} calls and {len(sms)} SMS to a person in an hour"
    lines = [f"seed {found.scenario.seed}: {plan}: {len(found.messages)} messages, {most}"]
    for before, gap in found.gaps():
        lines.append(f"  nobody is told for {gap} from {before.astimezone(MALAYSIA):%a %H.%M}")
    if found.overdue:
        lines.append(f"  the auditor has found {dict(found.overdue)}")
    return "\n".join(lines)


def _why(most: Sequence[Message]) -> str:
    """Return what somebody was told so often, and when."""
    began = most[0].at.astimezone(MALAYSIA)
    texts = Counter(re.sub(r"^RM0 JCM( ICT)?: ", "", m.text)[:60].replace("\n", " ") or "nobody takes it" for m in most)
    return f"{began:%a %H.%M}: " + "; ".join(f"{count} x {text!r}" for text, count in texts.items())


def main() -> None:
    """Play many, and say how it went."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plans", type=int, default=40)
    parser.add_argument("--days", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    wrong, most = 0, dict[bool, tuple[int, Sequence[Message]]]()
    for seed in range(options.seed, options.seed + options.plans):
        found = asyncio.run(played(seed, options.days))
        wrong += any(found.gaps()) or bool(found.overdue)
        for is_call in (True, False):
            here = found.busiest(is_call=is_call)
            if len(here) > len(most.get(is_call, (0, ()))[1]):
                most[is_call] = seed, here
        print(report(found), flush=True)
    for is_call, (seed, those) in most.items():
        print(f"most {'calls' if is_call else 'SMS'} to a person in an hour: {len(those)}, seed {seed}, {_why(those)}")
    print(f"{wrong} of {options.plans} plans leave somebody untold")
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
