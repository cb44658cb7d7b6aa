"""Configuration of escalation: the staff who are notified, step by step, until one acknowledges."""

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
from monitor.config.files.section import Count, Duration, Section, Slug, Span


class RedialSettings(Section):
    """Redial policy: a call that ended without a keypress is repeated while its step runs."""

    every: Span = Field(examples=["2m"])
    """From the end of a call to the next."""
    times: Count = 5
    """How many calls follow the first."""


class StepSettings(Section):
    """Escalation step, which runs while the incident is not acknowledged: contacts, on-call contacts, or both."""

    after: Duration = timedelta(0)
    """How long after the step before (the first: after the opening)."""
    contacts: tuple[Slug, ...] = Field(default=(), examples=["[siti]"])
    """All of them, at the same time."""
    rotas: tuple[Slug, ...] = Field(default=(), examples=["[bertugas]"])
    """Of each whoever is on call when the step starts."""
    channels: tuple[Channel, ...] = Field(examples=["[sms, voice]"])
    """In this order, each only when the one before failed for good."""
    redial: RedialSettings | None = None
    """How often a call is repeated that nobody answers with a keypress; default: after one and after three minutes."""


class EscalationSettings(Section):
    """Escalation steps, and how often they repeat."""

    steps: tuple[StepSettings, ...] = Field(examples=["[{contacts: [siti], channels: [sms, voice]}]"])
    rounds: Count = 3
    """How many times all steps are gone through."""
    repeat_after: Span = timedelta(minutes=15)
    """From the last step of a round to the first of the next."""
    repeat_interval: Span = timedelta(hours=1)
    """How often staff on duty are called again after the last round, day and night, while nobody has acknowledged."""
    acknowledgement_timeout: Span = timedelta(hours=1)
    """How long an acknowledgement stands after whoever gave it was last heard of; then the next step begins."""
    fallback: Slug | None = Field(default=None, examples=["pegawai-bertugas"])
    """A contact who is told in the place of a rota that has nobody on call."""

    @cached_property
    def rotas_named(self) -> frozenset[str]:
        """Keys of the rotas that the steps name."""
        return frozenset(key for step in self.steps for key in step.rotas)

    def build(self, people: Mapping[str, Contact], rotas: Mapping[str, Rota], hours: OfficeHours) -> EscalationPolicy:
        """Return the policy that incidents freeze.

        *people* and *rotas* are all that steps may name, by key; *hours* are the office hours.
        """
        named = dict.fromkeys(key for step in self.steps for key in step.rotas)
        return EscalationPolicy(
            steps=tuple(
                Step(
                    after=step.after,
                    contacts=tuple(people[key] for key in step.contacts),
                    rotas=tuple(rotas[key].name for key in step.rotas),
                    channels=step.channels,
                    redial=_again(step.redial),
                )
                for step in self.steps
            ),
            rounds=self.rounds,
            repeat_after=self.repeat_after,
            repeat_interval=self.repeat_interval,
            office_hours=hours,
            acknowledgement_timeout=self.acknowledgement_timeout,
            rotas=tuple(rotas[key] for key in named),
            fallback=people[self.fallback] if self.fallback else None,
        )


#: Used where no escalation is configured: nobody is notified.
NOBODY = EscalationSettings(steps=())


def _again(settings: RedialSettings | None) -> RedialPolicy | None:
    return None if settings is None else RedialPolicy(interval=settings.every, times=settings.times)
