"""The rules of grafana/rules and deploy/prometheus, for the tests that ask. Read once, by libyaml."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_ROOT = Path(__file__).parents[3]
RULES = _ROOT / "grafana" / "rules" / "pantau.rules.yml"
LOCAL_RULES = _ROOT / "deploy" / "prometheus" / "pantau.local.rules.yml"


def _groups(path: Path) -> dict[str, list[dict[str, Any]]]:
    groups = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)["groups"]
    return {group["name"]: group["rules"] for group in groups}


#: Those that ship, by group.
GROUPS = _groups(RULES)
ALL = [rule for group in GROUPS.values() for rule in group]
ALERTS = {rule["alert"]: rule for rule in ALL if "alert" in rule}
RECORDINGS = {rule["record"]: rule for rule in ALL if "record" in rule}
#: What the operator says of the place, by name.
LOCAL = {rule["record"]: rule for group in _groups(LOCAL_RULES).values() for rule in group}
