"""Section `escalation`: the staff who are notified, step by step, until one of them acknowledges the incident.

A *rota* is an on-call schedule.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property

from pydantic import Field

from alerts.hours.office_hours import OfficeHours
from alerts.model.channel import Channel
from alerts.model.contact import Contact
from alerts.model.oncall import Rota
from alerts.model.policy_snapshot import EscalationPolicy, RedialPolicy, Step
from monitor.config.files.section import Count, Duration, PositiveDuration, Section, Slug


class RedialSettings(Section):
    """How often a call that ended without a key press is repeated while its step runs."""

    every: PositiveDuration = Field(examples=["2m"])
    """Time from the end of a call to the next call."""
    times: Count = 5
    """Maximum number of further calls."""


class StepSettings(Section):
    """Escalation step, which runs while the incident is not acknowledged. It notifies contacts, rotas, or both."""

    after: Duration = timedelta(0)
    """Time from the previous step to this one; for the first step, from the opening of the incident."""
    contacts: tuple[Slug, ...] = Field(default=(), examples=["[siti]"])
    """Contacts, who are all notified at the same time."""
    rotas: tuple[Slug, ...] = Field(default=(), examples=["[bertugas]"])
    """Rotas; the person on call at the start of the step is notified."""
    channels: tuple[Channel, ...] = Field(examples=["[sms, voice]"])
    """Channels in order; each is used for a person only after the previous one has failed."""
    redial: RedialSettings | None = None
    """Repetition of calls that end without a key press; default: one minute and three minutes after the first call."""


class EscalationSettings(Section):
    """Escalation steps, and how often they repeat."""

    steps: tuple[StepSettings, ...] = Field(examples=["[{contacts: [siti], channels: [sms, voice]}]"])
    """Steps, in order."""
    rounds: Count = 3
    """Number of rounds, that is, of passes over all steps."""
    repeat_after: PositiveDuration = timedelta(minutes=15)
    """Time from the last step of a round to the first step of the next round."""
    repeat_interval: PositiveDuration = timedelta(hours=1)
    """Interval at which the first step is repeated after the last round, day and night, until somebody acknowledges."""
    acknowledgement_timeout: PositiveDuration = timedelta(hours=1)
    """How long an acknowledgement lasts after the assignee's last response. Then the next step starts."""
    fallback: Slug | None = Field(default=None, examples=["pegawai-bertugas"])
    """Contact who is notified if nobody in a rota is on call."""

    @cached_property
    def rota_keys(self) -> frozenset[str]:
        """Keys of the rotas that the steps name."""
        return frozenset(key for step in self.steps for key in step.rotas)

    def build(self, people: Mapping[str, Contact], rotas: Mapping[str, Rota], hours: OfficeHours) -> EscalationPolicy:
        """Return the policy, of which each incident keeps a copy.

        *people* and *rotas*: all contacts and rotas that steps may name, by key. *hours*: the office hours.
        """
        used_rota_keys = dict.fromkeys(key for step in self.steps for key in step.rotas)  # An ordered set.
        return EscalationPolicy(
            steps=tuple(
                Step(
                    after=step.after,
                    contacts=tuple(people[key] for key in step.contacts),
                    rotas=tuple(rotas[key].name for key in step.rotas),
                    channels=step.channels,
                    redial=_build_redial(step.redial),
                )
                for step in self.steps
            ),
            rounds=self.rounds,
            repeat_after=self.repeat_after,
            repeat_interval=self.repeat_interval,
            office_hours=hours,  # After the last round, everybody is notified again whenever these hours begin.
            acknowledgement_timeout=self.acknowledgement_timeout,
            rotas=tuple(rotas[key] for key in used_rota_keys),
            fallback=people[self.fallback] if self.fallback else None,
        )


#: Escalation where none is configured: nobody is notified.
NOBODY = EscalationSettings(steps=())


def _build_redial(settings: RedialSettings | None) -> RedialPolicy | None:
    """Return the policy; `None` without *settings*: the delivery of the notification then retries the call itself."""
    return None if settings is None else RedialPolicy(interval=settings.every, times=settings.times)
