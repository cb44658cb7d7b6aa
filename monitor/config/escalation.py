"""Escalation as it is configured: which staff are told, step by step, until somebody acknowledges."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from pydantic import Field

from alerts.brief import EscalationPolicy, Step
from alerts.channel import Channel
from alerts.contact import Contact
from monitor.config.section import Count, Section, Slug, Span


class StepSettings(Section):
    """Whom to tell next while nobody has acknowledged."""

    after: timedelta = timedelta(0)
    """How long after the step before (the first: after the opening)."""
    contacts: tuple[Slug, ...] = Field(examples=["[siti]"])
    """All of them, at the same time."""
    channels: tuple[Channel, ...] = Field(examples=["[sms, voice]"])
    """In this order, each only when the one before failed for good."""


class EscalationSettings(Section):
    """The steps, and how often to go through them."""

    steps: tuple[StepSettings, ...] = Field(examples=["[{contacts: [siti], channels: [sms, voice]}]"])
    rounds: Count = 3
    """How many times all steps are gone through."""
    repeat_after: Span = timedelta(minutes=15)
    """From the last step of a round to the first of the next."""

    def build(self, people: Mapping[str, Contact]) -> EscalationPolicy:
        """Return the policy as incidents freeze it; *people* are all contacts that steps may name."""
        return EscalationPolicy(
            steps=tuple(
                Step(
                    after=step.after,
                    contacts=tuple(people[key] for key in step.contacts),
                    channels=step.channels,
                )
                for step in self.steps
            ),
            rounds=self.rounds,
            repeat_after=self.repeat_after,
        )
