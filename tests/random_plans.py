"""Simulation of random escalation plans and people over days.

`.venv/bin/python -m tests.random_plans --plans 40 --days 3` runs many and prints the most messages that a person
gets in an hour; `tests/integration/alerts/test_random_plan_story.py` runs a few. A plan and the behaviour of its
people follow from the seed alone.
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
from tests.integration.alerts.simulated_env import NOC, PeriodicTask, SimulatedEnv, open_simulated_env
from tests.integration.alerts.test_escalation_story import auditor_of
from tests.unit.alerts.people import SNAPSHOT

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
#: Monday, 23 November 2026, 14.00 in Malaysia.
BEGINS = datetime(2026, 11, 23, 14, tzinfo=MALAYSIA)
#: Tolerance beyond the bound: bundles wait for two minutes, and a call takes a while.
SLACK = BUNDLE_INTERVAL + MINUTE
#: Longer than any simulation.
_ONCE = timedelta(days=999)
_NAMES = ("Siti", "Ravi", "Mei", "Ali", "Ketua")


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """Behaviour of a person who gets alerts."""

    #: Hours between which the person sleeps and answers nothing; equal: never.
    sleeps: tuple[int, int]
    #: Shares of alerts that are answered, of reminders that are ignored, and of answers that escalate.
    answers: float
    ignores: float
    escalates: float
    reaction_time: timedelta
    #: The telephone is off between these times after the start.
    phone_off: tuple[timedelta, timedelta] | None = None

    def awake(self, at: datetime) -> bool:
        begins, ends = self.sleeps
        hour = at.astimezone(MALAYSIA).hour
        return not (begins <= hour or hour < ends) if begins > ends else not begins <= hour < ends


@dataclass(slots=True, kw_only=True)
class SimulatedPhone(Phone):
    """Telephone of a person who decides which key to press."""

    habits: Habits
    rng: random.Random

    def next_keys(self) -> str:
        if self.rng.random() >= self.habits.answers:
            return ""
        return "4" if self.rng.random() < self.habits.escalates else "1"


@dataclass(slots=True, kw_only=True)
class Scenario:
    """An escalation policy and its people."""

    seed: int
    policy: EscalationPolicy
    habits: dict[str, Habits]
    begins: datetime

    @property
    def bound(self) -> timedelta:
        """Longest time without a message while nobody has acknowledged."""
        return self.policy.max_quiet_period


def contact(name: str, number: str) -> Contact:
    addresses = (Address(channel=Channel.SMS, number=number), Address(channel=Channel.VOICE, number=number))
    return Contact(key=name.lower(), name=f"{name} Contoh", language=Language.MALAY, addresses=addresses)


def scenario(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    rng = random.Random(seed)
    people = [contact(name, f"+601000003{n:02d}") for n, name in enumerate(_NAMES[: rng.randint(1, len(_NAMES))])]
    habits = {
        person.addresses[0].number: Habits(
            sleeps=rng.choice([(23, 7), (23, 7), (22, 6), (0, 0)]),
            answers=rng.choice([0.0, 0.3, 0.8, 1.0, 1.0]),
            ignores=rng.choice([0.0, 0.5, 1.0]),
            escalates=rng.choice([0.0, 0.0, 0.2, 0.6]),
            reaction_time=rng.choice([1, 3, 10, 40]) * MINUTE,
            phone_off=(rng.randint(0, 40) * HOUR, rng.randint(41, 72) * HOUR) if rng.random() < 0.2 else None,
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
    """Message to a person, delivered or not."""

    at: datetime
    to: str
    is_call: bool
    text: str
    keys: str = ""
    #: False if the telephone was off.
    is_delivered: bool = True


@dataclass(slots=True, kw_only=True)
class ScenarioResult:
    """Result of a scenario."""

    scenario: Scenario
    messages: list[Message] = field(default_factory=list)
    duration: timedelta
    #: Audit log entries of the incident, in order.
    audit_entries: Sequence[tuple[datetime, str]] = ()

    @property
    def overdue(self) -> Counter[str]:
        """Counts of the auditor's findings."""
        return Counter(event for _, event in self.audit_entries if event.endswith(" overdue"))

    def unacknowledged(self) -> Iterator[tuple[datetime, datetime, bool]]:
        """Yield start and end of each time without acknowledgement, and whether one expired before it."""
        since, is_acknowledged, expired = self.scenario.begins, False, False
        for at, event in self.audit_entries:
            if event == "incident acknowledged":
                yield since, at, expired
                is_acknowledged = True
            elif event in {"acknowledgement expired", "handed on"}:
                if not is_acknowledged:
                    yield since, at, expired
                since, is_acknowledged, expired = at, False, event != "handed on"
        if not is_acknowledged:
            yield since, self.scenario.begins + self.duration, expired

    def gaps(self) -> Iterator[tuple[datetime, timedelta]]:
        """Yield start and length of each time without message or acknowledgement beyond the bound.

        Times of throttled notifications are left out. An expired acknowledgement must be followed by a message at
        once.
        """
        throttled = [at for at, event in self.audit_entries if event == "notice held"]
        for begins, ends, expired in self.unacknowledged():
            times = [begins, *(m.at for m in self.messages if begins <= m.at < ends), ends]
            for n, (before, after) in enumerate(pairwise(times)):
                bound = SLACK if expired and not n else self.scenario.bound + SLACK
                if after - before > bound and not any(before - bound <= at <= after for at in throttled):
                    yield before, after - before

    def busiest(self, *, is_call: bool) -> Sequence[Message]:
        """Return the most delivered calls, or SMS, to one person within an hour."""
        found: list[Message] = []
        is_delivered = [m for m in self.messages if m.is_delivered and m.is_call is is_call]
        for first in is_delivered:
            theirs = [m for m in is_delivered if m.to == first.to]
            found = max(found, [m for m in theirs if first.at <= m.at < first.at + HOUR], key=len)
        return found


@dataclass(slots=True)
class _Simulation:
    town: SimulatedEnv
    scene: Scenario
    rng: random.Random

    def got_sms(self, phone: Phone, text: str) -> None:
        """Decide whether and when the person answers."""
        if not isinstance(phone, SimulatedPhone):
            return
        now, habits = self.town.clock.now(), phone.habits
        code = next((word.strip(".") for word in text.split() if re.fullmatch(r"\d+A\.?", word)), None)
        if code is None or not habits.awake(now):
            return
        if self.rng.random() < (habits.ignores if "PERINGATAN" in text else 1 - habits.answers):
            return
        escalates = self.rng.random() < habits.escalates
        at = now + habits.reaction_time
        self.town.rounds.append(
            PeriodicTask(_ONCE, partial(self.reply, phone, f"serah {code}" if escalates else code), at)
        )

    async def reply(self, phone: SimulatedPhone, text: str) -> None:
        if phone.behaviour is not PhoneBehaviour.OFF:
            await self.town.carrier.send_reply(phone, text)

    async def behave(self) -> None:
        """Let people go to bed, get up, and switch their telephones off and on."""
        now = self.town.clock.now()
        for phone in self.town.carrier.phones.values():
            if not isinstance(phone, SimulatedPhone):
                continue
            off = phone.habits.phone_off
            if off is not None and off[0] <= now - self.scene.begins < off[1]:
                phone.behaviour = PhoneBehaviour.OFF
            elif phone.habits.awake(now):
                phone.behaviour = PhoneBehaviour.ANSWERS
            else:
                phone.behaviour = PhoneBehaviour.NO_ANSWER if self.scene.seed % 2 else PhoneBehaviour.VOICEMAIL


async def play(town: SimulatedEnv, scene: Scenario, days: float) -> ScenarioResult:
    """Simulate an outage without repair, and return the result."""
    run_seed, it = (
        ScenarioResult(scenario=scene, duration=timedelta(days=days)),
        _Simulation(town, scene, random.Random(scene.seed + 1)),
    )
    for number, habits in scene.habits.items():
        town.carrier.phones[number] = SimulatedPhone(
            number=number, habits=habits, rng=random.Random(f"{scene.seed}{number}")
        )
    town.clock.moment = scene.begins
    town.carrier.on_sms = it.got_sms
    town.run_every(HOUR / 4, it.behave)
    town.run_every(17 * MINUTE, auditor_of(town).audit)
    snapshot: PolicySnapshot = replace(SNAPSHOT, escalation=scene.policy, announcement=AnnouncementPlan())
    await town.submit(
        Trigger(
            dedup_key="JCM",
            at=scene.begins,
            type=IncidentType.BOTH,
            began_at=scene.begins - 2 * MINUTE,
            policy=snapshot,
        )
    )
    await town.advance(timedelta(days=days))
    async with town.database.read() as connection:
        of_it = select(audit_log.c.at, audit_log.c.event).where(audit_log.c.incident_id == 1).order_by(audit_log.c.id)
        run_seed.audit_entries = [(at, event) for at, event in await connection.execute(of_it)]
    run_seed.messages = sorted(_messages(town, scene), key=lambda m: m.at)
    town.carrier.on_sms = lambda phone, text: None
    contacts_made: list[Sms | Call] = [*town.carrier.messages, *town.carrier.calls]
    for made in contacts_made:
        made.expected = True
    return run_seed


def _messages(town: SimulatedEnv, scene: Scenario) -> Iterator[Message]:
    contacts_made: list[Sms | Call] = [*town.carrier.messages, *town.carrier.calls]
    for made in contacts_made:
        # The response to an SMS has no callback, and belongs to no escalation.
        if made.to in scene.habits and made.callback:
            keys = made.keys if isinstance(made, Call) else ""
            yield Message(
                at=made.created_at,
                to=made.to,
                is_call=isinstance(made, Call),
                text=made.text,
                keys=keys,
                is_delivered=made.status not in {"failed", "undelivered"},
            )


async def run_seed(seed: int, days: float) -> ScenarioResult:
    """Run the scenario of a seed in an environment of its own."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_simulated_env(Path(directory)) as town:
            town.carrier.phones.pop(NOC, None)
            town.add_phone(NOC)
            return await play(town, scenario(seed), days)


def report(found: ScenarioResult) -> str:
    """Return a summary of a scenario."""
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
    """Return the texts of the messages with their counts."""
    began = most[0].at.astimezone(MALAYSIA)
    texts = Counter(re.sub(r"^RM0 JCM( ICT)?: ", "", m.text)[:60].replace("\n", " ") or "nobody takes it" for m in most)
    return f"{began:%a %H.%M}: " + "; ".join(f"{count} x {text!r}" for text, count in texts.items())


def main() -> None:
    """Run many scenarios and print their summaries."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plans", type=int, default=40)
    parser.add_argument("--days", type=float, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    wrong, most = 0, dict[bool, tuple[int, Sequence[Message]]]()
    for seed in range(options.seed, options.seed + options.plans):
        found = asyncio.run(run_seed(seed, options.days))
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
