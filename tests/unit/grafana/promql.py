"""Minimal parser of PromQL expressions. Prometheus validates them."""

from __future__ import annotations

import re

_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)")
_RANGE = re.compile(r"\[[^\]]*\]")
#: Text arguments of functions; label values stay.
_TEXT = re.compile(r'(?<=[(,] )"[^"]*"')
_SELECTOR = re.compile(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(\{[^}]*\})?(?!\s*\(|[\w:])")
_OPERATORS = frozenset({"and", "or", "unless", "bool", "offset"})
_HISTOGRAM = re.compile(r"_(?:bucket|count|sum)$")


def selectors(expr: str) -> list[str]:
    """Return the series that an expression starts from: `pantau_mail_up{agency="jpc"}`."""
    without = _RANGE.sub("", _GROUPING.sub("", _TEXT.sub("", expr)))
    return [name + (labels or "") for name, labels in _SELECTOR.findall(without) if name not in _OPERATORS]


def metrics(expr: str) -> set[str]:
    """Return the names of the metrics that an expression needs; a histogram goes by its own name."""
    return {
        _HISTOGRAM.sub("", name) if name.startswith("pantau_") else name
        for name in (selector.partition("{")[0] for selector in selectors(expr))
    }


def labels(expr: str) -> set[str]:
    """Return the labels that an expression groups by, joins on or selects."""
    grouped = re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", expr)
    matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)(?=\s*\")", expr)
    return {name.strip() for group in grouped for name in group.split(",")} | set(matched)
