"""Rules of grafana/rules and deploy/prometheus, read once."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

_ROOT = Path(__file__).parents[3]
RULES = _ROOT / "grafana" / "rules" / "pantau.rules.yml"
LOCAL_RULES = _ROOT / "deploy" / "prometheus" / "pantau.local.rules.yml"


def _whole(path: Path) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)["groups"]
    return groups


def _groups(whole: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {group["name"]: group["rules"] for group in whole}


_SHIPPED = _whole(RULES)
#: Shipped rules, by group.
GROUPS = _groups(_SHIPPED)
ALL = [rule for group in GROUPS.values() for rule in group]
ALERTS = {rule["alert"]: rule for rule in ALL if "alert" in rule}
RECORDINGS = {rule["record"]: rule for rule in ALL if "record" in rule}
#: The operator's local rules, by name.
LOCAL = {rule["record"]: rule for group in _groups(_whole(LOCAL_RULES)).values() for rule in group}


def name_of(rule: Mapping[str, Any]) -> str:
    """Return the name of an alert or a recording."""
    return str(rule.get("alert") or rule["record"])


def without_annotations(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Return a rule without annotations: to render them is half of the work while it fires."""
    return {key: value for key, value in rule.items() if key != "annotations"}


def rules_read_by(asked: str) -> Sequence[Mapping[str, Any]]:
    """Return the shipped groups with only the rules that *asked* names, directly or indirectly, without annotations."""
    named = _named(asked)
    if _ANY_ALERT.search(asked):
        named |= ALERTS.keys()
    while further := {each for rule in ALL if name_of(rule) in named for each in _TEXTS[name_of(rule)]} - named:
        named |= further
    groups = [
        group | {"rules": [without_annotations(r) for r in group["rules"] if name_of(r) in named]} for group in _SHIPPED
    ]
    return [group for group in groups if group["rules"]]


def _named(text: str) -> set[str]:
    return set(_NAME.findall(text)) & (ALERTS.keys() | RECORDINGS.keys())


_NAME = re.compile(r"[\w:]+")
#: A query of alerts without a name.
_ANY_ALERT = re.compile(r"ALERTS(?!\{alertname)")
_TEXTS = {name_of(rule): _named(json.dumps(without_annotations(rule))) for rule in ALL}
