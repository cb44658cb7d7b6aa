"""Arbitrary file contents: loading returns problems or a valid configuration, and does not crash."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alerts.model.channel import Channel
from monitor.config.fields.phone import find_objection
from monitor.config.files.duration import MAX_DURATION, InvalidDurationError, format_duration, parse_duration
from tests.unit.monitor.config.ministry import AGENCY, SETTINGS, Ministry

_WORDS = st.sampled_from(
    [
        "agency",
        "contacts",
        "escalation",
        "steps",
        "channels",
        "sms",
        "gateways",
        "references",
        "noc",
        "password",
        "~",
        "5m",
    ]
)
_SCALARS = _WORDS | st.text(max_size=8) | st.integers() | st.none() | st.booleans() | st.floats()
_TREES = st.recursive(
    _SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(_WORDS, below, max_size=4), max_leaves=12
)
_PIECES = st.sampled_from(
    [": ", "\n", "  ", "- ", "[", "]", "{", "}", "'", '"', "&a ", "*a", "!", "|", "\t", "#", "? ", "\x85"]
)


def _survives(settings_text: str, agency_text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        ministry = Ministry(Path(directory))
        ministry.write("pantau", settings_text)
        ministry.write("jabatan", agency_text)
        loaded = ministry.load()
        assert loaded.errors or (loaded.configuration is not None and loaded.configuration.registry.agencies)
        for problem in loaded.problems:
            assert str(problem).isprintable()


def _replaced(text: str, path: list[int], tree: Any) -> str:
    """Replace a value in the configuration *text* with *tree*."""
    data = yaml.safe_load(text)
    container = data
    for number in path:
        keys: list[Any] = list(container) if isinstance(container, dict) else list(range(len(container)))
        if not keys:
            break
        key = keys[number % len(keys)]
        if number is path[-1] or not isinstance(container[key], dict | list):
            container[key] = tree
            break
        container = container[key]
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True)


@settings(max_examples=120, deadline=None)
@given(path=st.lists(st.integers(0, 12), min_size=1, max_size=5), tree=_TREES, in_agency=st.booleans())
def test_load_any_value_in_any_place_is_read_or_refused(path: list[int], tree: Any, in_agency: bool) -> None:  # noqa: FBT001
    if in_agency:
        _survives(SETTINGS, _replaced(AGENCY, path, tree))
    else:
        _survives(_replaced(SETTINGS, path, tree), AGENCY)


@settings(max_examples=80, deadline=None)
@given(cut=st.integers(0, len(AGENCY)), junk=st.text(max_size=12) | st.lists(_PIECES, max_size=6).map("".join))
@example(cut=0, junk="[" * 3000)
@example(cut=len(AGENCY), junk='x: "\\UFFFFFFFF"')
@example(cut=0, junk="%YAML 99999999999999999999.1\n---\n")
def test_load_garbled_text_is_read_or_refused(cut: int, junk: str) -> None:
    text = AGENCY[:cut] + junk + AGENCY[cut:]
    _survives(SETTINGS, text.encode("utf-8", "replace").decode())


@given(st.text(max_size=20))
def test_find_objection_any_text_returns_none_or_message(text: str) -> None:
    found = find_objection(text, Channel.SMS)
    assert found is None or found.message


@given(
    st.timedeltas(min_value=timedelta(0), max_value=MAX_DURATION).map(lambda span: span - span % timedelta(seconds=1))
)
def test_duration_round_trip_is_equal(span: Any) -> None:
    assert parse_duration(format_duration(span)) == span


@given(st.text(max_size=10))
def test_parse_duration_any_text_is_duration_or_invalid(text: str) -> None:
    with suppress(InvalidDurationError):
        assert parse_duration(text) >= timedelta(0)
