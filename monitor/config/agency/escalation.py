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
    """Time from the end of a call to the next."""
    times: Count = 5
    """Number of further calls."""


class StepSettings(Section):
    """Escalation step, which runs while the incident is not acknowledged: contacts, on-call contacts, or both."""

    after: Duration = timedelta(0)
    """Time after the previous step; of the first, after the incident opens."""
    contacts: tuple[Slug, ...] = Field(default=(), examples=["[siti]"])
    """Contacts that are notified at the same time."""
    rotas: tuple[Slug, ...] = Field(default=(), examples=["[bertugas]"])
    """Rotas; the person on call at the start of the step is notified."""
    channels: tuple[Channel, ...] = Field(examples=["[sms, voice]"])
    """Channels in order; each is used only after the previous one has failed."""
    redial: RedialSettings | None = None
    """Repetition of calls that end without a key press; default: after one and after three minutes."""


class EscalationSettings(Section):
    """Escalation steps, and how often they repeat."""

    steps: tuple[StepSettings, ...] = Field(examples=["[{contacts: [siti], channels: [sms, voice]}]"])
    """Steps, in order."""
    rounds: Count = 3
    """Number of passes over all steps."""
    repeat_after: Span = timedelta(minutes=15)
    """Time from the last step of a round to the first of the next."""
    repeat_interval: Span = timedelta(hours=1)
    """Interval at which staff on duty are called again after the last round, day and night, until somebody
    acknowledges.
    """
    acknowledgement_timeout: Span = timedelta(hours=1)
    """How long an acknowledgement lasts after the assignee's last response; then the next step starts."""
    fallback: Slug | None = Field(default=None, examples=["pegawai-bertugas"])
    """Contact who is notified instead of a rota without anybody on call."""

    @cached_property
    def rota_keys(self) -> frozenset[str]:
        """Keys of the rotas that the steps name."""
        return frozenset(key for step in self.steps for key in step.rotas)

    def build(self, people: Mapping[str, Contact], rotas: Mapping[str, Rota], hours: OfficeHours) -> EscalationPolicy:
        """Return the policy that incidents freeze.

        *people* and *rotas* are all that steps may name, by key; *hours* are the office hours.
        """
        rota_names = dict.fromkeys(key for step in self.steps for key in step.rotas)
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
            office_hours=hours,
            acknowledgement_timeout=self.acknowledgement_timeout,
            rotas=tuple(rotas[key] for key in rota_names),
            fallback=people[self.fallback] if self.fallback else None,
        )


#: Used where no escalation is configured: nobody is notified.
NOBODY = EscalationSettings(steps=())


def _build_redial(settings: RedialSettings | None) -> RedialPolicy | None:
    return None if settings is None else RedialPolicy(interval=settings.every, times=settings.times)
