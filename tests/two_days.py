"""Generator of tests/data/two-days.md, a long outage from each person's view.

`make texts` writes the page and a test compares it. The outage runs in a simulated environment
(`tests/integration/alerts/simulated_env.py`) with telephones, a fax machine, a tray and a clock that is advanced;
the product's code is real.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import structlog

from alerts.decide.gateway.next_action import DeliveryPolicy
from alerts.decide.paper import LetterStep
from alerts.gateways.tray import LetterPlace
from alerts.hours.calendar import Calendar
from alerts.hours.office_hours import OfficeHours
from alerts.inbound.pin import PinStore, hash_pin
from alerts.model.channel import Channel
from alerts.model.contact import Address, Contact, Recipient
from alerts.model.event import Trigger
from alerts.model.notification import Addressee, IncidentType, Language
from alerts.model.oncall import Layer, Rota
from alerts.model.policy_snapshot import AnnouncementPlan, EscalationPolicy, PolicySnapshot, Step
from monitor.config.fields.window import MALAYSIA
from pantau_lab.carrier.phone import Call, PhoneBehaviour
from pantau_lab.faxservice.service import Fax
from tests.integration.alerts.simulated_env import NOC, SimulatedEnv, open_simulated_env
from tests.integration.alerts.test_escalation_story import auditor_of
from tests.texts import OFFICE
from tests.unit.alerts.documents.pages import text_of

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "tests/data/two-days.md"

MINUTE = timedelta(minutes=1)
#: The clerk records what is posted, so moved files need no check every minute for two days.
_RARE_CHECKS = DeliveryPolicy(check_interval={**DeliveryPolicy().check_interval, Channel.LETTER: timedelta(hours=1)})
PIN = "280146"
CLERK = "Kerani Contoh"
DOES = "does"
#: Texts of more characters are not repeated on the page.
_MAX_REPEATED = 200
#: A Sunday; the day after it is Hari Wilayah, a holiday in Putrajaya; then comes a Tuesday.
SUNDAY = date(2027, 1, 31)
BEGAN = datetime(2027, 1, 31, 12, 58, tzinfo=MALAYSIA)


def _contact(key: str, name: str, number: str, language: Language = Language.MALAY) -> Contact:
    addresses = (Address(channel=Channel.SMS, number=number), Address(channel=Channel.VOICE, number=number))
    return Contact(key=key, name=name, language=language, addresses=addresses)


SITI = _contact("siti", "Siti Contoh", "+60100000101")
RAVI = _contact("ravi", "Ravi Contoh", "+60100000102")
MEI = _contact("mei", "Mei Contoh", "+60100000103", Language.ENGLISH)
OPERATIONS = _contact("noc", "Pegawai NOC", NOC)
MINISTRY = Recipient(
    key="kementerian",
    language=Language.MALAY,
    addressee=Addressee(title="Ketua Setiausaha", organisation="Kementerian Contoh", address=("62000 PUTRAJAYA",)),
    addresses=(
        Address(channel=Channel.FAX, number="+60300000201"),
        Address(channel=Channel.LETTER, number="Kementerian Contoh"),
    ),
)
DUTY = Rota(
    name="JCM/bertugas", zone=MALAYSIA, layers=(Layer(people=(SITI, RAVI, MEI), starts_on=SUNDAY, shift_days=1),)
)
SNAPSHOT = PolicySnapshot(
    agency="JCM",
    office=OFFICE,
    escalation=EscalationPolicy(
        steps=(
            Step(after=timedelta(), rotas=(DUTY.name,), channels=(Channel.SMS,)),
            Step(after=5 * MINUTE, rotas=(DUTY.name,), channels=(Channel.VOICE,)),
            Step(after=10 * MINUTE, contacts=(OPERATIONS,), channels=(Channel.VOICE,)),
        ),
        rounds=2,
        acknowledgement_timeout=timedelta(hours=4),
        rotas=(DUTY,),
    ),
    announcement=AnnouncementPlan(recipients=(MINISTRY,), updates=OfficeHours(calendar=Calendar(), zone=MALAYSIA)),
)

WHO: Mapping[str, str] = {
    SITI.name: "She has the duty on Sunday, until Monday at 8.00. She has a PIN.",
    RAVI.name: "He has the duty on Monday, the holiday.",
    MEI.name: "She has the duty on Tuesday. Her notices are in English.",
    OPERATIONS.name: "The operations centre, which hears of it when nobody else is heard of.",
    "Kementerian Contoh": "It is told by fax and by letter once a duty officer has released that.",
    CLERK: "The clerk prints, signs and posts what lies in the tray, in office hours.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonEvent:
    """An event of a person: a message or an action."""

    at: datetime
    who: str
    what: str
    words: str


@dataclass(slots=True, kw_only=True)
class Simulation:
    """The running simulation of two days."""

    town: SimulatedEnv
    lines: list[PersonEvent] = field(default_factory=list)

    async def until(self, day: int, clock: str) -> None:
        """Advance the clock; *day* is the day of the month."""
        hour, minute = map(int, clock.split("."))
        month = 1 if day == SUNDAY.day else 2
        at = datetime(2027, month, day, hour, minute, tzinfo=MALAYSIA)
        await self.town.advance(at - self.town.clock.now())

    def note(self, who: str, what: str, words: str) -> None:
        self.lines.append(PersonEvent(at=self.town.clock.now(), who=who, what=what, words=words))

    async def does(self, who: str, what: str, act: Callable[[], Awaitable[object]]) -> None:
        """Record and run an action of a person."""
        self.note(who, DOES, what)
        await act()
        await self.town.settle()

    async def remarks(self, who: Contact, text: str) -> None:
        """Let an officer add a note."""
        await self.does(
            who.name, f"`pantau note JCM-01 '{text}'`", partial(self.town.facade.add_note, "JCM-01", who.name, text)
        )


async def play(town: SimulatedEnv) -> Sequence[PersonEvent]:
    """Run the simulation, and return all events in order."""
    town.clock.moment = BEGAN + 2 * MINUTE
    town.pins = PinStore({("JCM", "siti"): hash_pin(PIN), ("JCM", "mei"): hash_pin(PIN)})
    town.run_every(10 * MINUTE, auditor_of(town).audit)
    it = Simulation(town=town)
    town.fax_service.on_taken = lambda fax: it.note("Kementerian Contoh", "fax", _fax(fax))
    siti, ravi, mei, noc = (town.person(each.addresses[0].number) for each in (SITI, RAVI, MEI, OPERATIONS))

    await town.submit(
        Trigger(dedup_key="JCM", at=town.clock.now(), type=IncidentType.BOTH, began_at=BEGAN, policy=SNAPSHOT)
    )
    # Siti answers the SMS. Half an hour after the start she is called about the announcement.
    await it.until(31, "13.03")
    await siti.replies("1A")
    siti.presses("5", f"{PIN}#", "1")
    await it.until(31, "16.40")
    await it.remarks(SITI, "cakera pelayan mel diganti")
    await it.until(31, "20.35")
    await siti.replies("1A")
    # A sleeping person answers no SMS, so she is called. Four hours later the operations centre is called.
    siti.presses("1")
    noc.presses("1")
    await it.until(1, "8.10")
    await ravi.replies("1A")
    await it.until(1, "11.55")
    await it.remarks(RAVI, "menunggu alat ganti")
    await it.until(1, "15.50")
    await ravi.replies("1A")
    await it.until(1, "18.40")
    await town.submit(
        Trigger(
            dedup_key="JCM",
            at=town.clock.now(),
            type=IncidentType.RECEIVING,
            began_at=BEGAN,
            policy=SNAPSHOT,
            less_severe_since=town.clock.now() - 10 * MINUTE,
        )
    )
    await it.until(1, "19.30")
    await ravi.replies("1A")
    # Ravi does not answer the telephone.
    ravi.behaves(PhoneBehaviour.NO_ANSWER)
    noc.presses("1")
    await it.until(2, "3.40")
    await noc.replies("1A")
    await it.until(2, "7.36")
    await noc.replies("1A")
    await it.until(2, "8.10")
    await mei.replies("1A")
    await it.until(2, "9.15")
    for step in (LetterStep.PRINTED, LetterStep.POSTED):
        for letter in await town.letters.letters():
            if letter.step not in (LetterStep.POSTED, LetterStep.TAKEN_BACK, step):
                await it.does(CLERK, f"says that it is {step}", partial(town.handles, letter.id, step, CLERK))
    await it.until(2, "11.20")
    await town.resolve()
    await it.until(2, "11.30")
    lines = [*it.lines, *_telephone_events(town), *await _letter_events(town)]
    _mark_all_expected(town)
    return sorted(lines, key=lambda line: line.at)


def _telephone_events(town: SimulatedEnv) -> Iterator[PersonEvent]:
    """Yield SMS and calls, in both directions."""
    names = {each.addresses[0].number: each.name for each in (SITI, RAVI, MEI, OPERATIONS)}
    for sms in town.carrier.received:
        yield PersonEvent(at=sms.created_at, who=names[sms.sender], what="answers by SMS", words=sms.body)
    # Calls come before SMS of the same time, which may follow from a call.
    for call in town.carrier.calls:
        yield PersonEvent(at=call.created_at, who=names[call.to], what=_call_summary(call), words=_spoken_once(call))
    for sms in town.carrier.messages:
        yield PersonEvent(at=sms.created_at, who=names[sms.to], what="SMS", words=sms.body)


def _call_summary(call: Call) -> str:
    if not call.spoken:
        return "call that nobody takes"
    # The digits after the first key are the PIN.
    keys = call.keys.replace(PIN, " PIN ")
    return f"call; presses {keys}" if keys else "call; presses nothing"


def _spoken_once(call: Call) -> str:
    """Return the spoken sentences, each once: a menu is repeated until a key is pressed."""
    return " ".join(dict.fromkeys(line.text for line in call.spoken))


async def _letter_events(town: SimulatedEnv) -> Sequence[PersonEvent]:
    """Return the letters in the tray."""
    pages = {path.name: path for place in LetterPlace for path in town.outside.letters(place)}
    return [
        PersonEvent(
            at=attempt.started_at,
            who=CLERK,
            what=f"a letter in the tray, to {MINISTRY.addressee.organisation}",
            words=text_of(path.read_bytes()),
        )
        for notice in await town.notifications()
        if notice.channel is Channel.LETTER
        for delivery in notice.deliveries
        for attempt in delivery.attempts
        for name, path in pages.items()
        if f"_{attempt.reference}_" in name
    ]


def _mark_all_expected(town: SimulatedEnv) -> None:
    for sms in town.carrier.messages:
        sms.expected = True
    for call in town.carrier.calls:
        call.expected = True
    for number in town.fax_service.machines:
        for _ in town.fax_service.machines[number].received:
            town.gets_fax(number=number)
    for place in LetterPlace:
        for _ in town.outside.letters(place):
            town.gets_letter(place=place)


# -- the page --------------------------------------------------------------------------------------------------------

_HEAD = """\
# Two days without mail, as those who were told of it lived them

`make texts` writes this page: it plays the outage with telephones, a fax machine, a tray and a clock that is advanced,
and writes down what came to everybody, in which words. A test plays it again and compares.

Jabatan Contoh Malaysia, in Putrajaya, loses its mail on Sunday, 31 January 2027, at 12.58 in the afternoon. Monday is
Hari Wilayah, a holiday. On Monday evening mail can be sent again, and on Tuesday at 11.20 all of it works. Three officers
have the duty in turn, a day each, handed over at 8.00. An acknowledgement stands for four hours (`acknowledgement_timeout`). All
times are Malaysian.
"""


def page(lines: Sequence[PersonEvent]) -> str:
    """Return the page."""
    return "\n".join([_HEAD, *(part for who, about in WHO.items() for part in _person_section(who, about, lines))])


def _person_section(who: str, about: str, lines: Sequence[PersonEvent]) -> Iterator[str]:
    yield f"## {who}\n\n{about}\n"
    yield "| when | what | words |\n| --- | --- | --- |"
    own = [line for line in lines if line.who == who]
    said: dict[str, str] = {}
    for line in own:
        at = line.at.astimezone(MALAYSIA)
        when = f"{at:%a} {at.hour}.{at:%M}"
        words = f"as on {said[line.words]}" if line.words in said and len(line.words) > _MAX_REPEATED else line.words
        said.setdefault(line.words, when)
        yield f"| {when} | {line.what} | {_escaped_cell(words)} |"
    counts = Counter(line.what.partition(";")[0] for line in own if line.what != DOES)
    yield "\nIn all: " + ", ".join(f"{count} {what}" for what, count in counts.items()) + ".\n"


def _escaped_cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


async def document() -> str:
    """Run the simulation and return the page."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_simulated_env(Path(directory), policy=_RARE_CHECKS) as town:
            return page(await play(town))


def main() -> None:
    """Write the page."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    DOCUMENT.write_text(asyncio.run(document()))


def _fax(fax: Fax) -> str:
    return text_of(fax.pdf)


if __name__ == "__main__":
    main()
