"""Prometheus' text formats for metrics with a series for every agency, route or mailbox.

prometheus-client formats every series at each scrape. With 10,000 routes this takes seconds and blocks the event loop.
Here a line is formatted when its value changes, and a scrape only joins the lines. Metrics with few series use
prometheus-client.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, Literal

from prometheus_client.exposition import choose_encoder

#: Label values in the order of the family's labels, and the value of the series.
Sample = tuple[tuple[str, ...], float]

#: Number of agencies whose lines are joined at a time, so that a piece takes well under a millisecond.
_AGENCIES_PER_PIECE: Final = 100

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric with many series, grouped by agency and *part*: a route, check, mailbox or other key within the agency.

    Only the event loop may change it; `pieces` may be read from any thread.
    """

    name: str
    kind: Literal["gauge", "counter"]
    #: Help text of the metric, one sentence.
    help_text: str
    #: Label names.
    labels: tuple[str, ...]
    #: The exported lines of each part, by agency and part.
    _lines: dict[str, dict[str, bytes]] = field(default_factory=dict, repr=False)

    def put(self, agency: str, part: str, samples: Iterable[Sample]) -> None:
        """Set all series of a *part* of an agency to *samples*. Without samples this equals `drop`."""
        lines = [f"{self.name}{{{self._pairs(values)}}} {_number(value)}\n" for values, value in samples]
        if lines:
            self._lines.setdefault(agency, {})[part] = "".join(lines).encode()
        else:
            self.drop(agency, part)

    def _pairs(self, values: tuple[str, ...]) -> str:
        return ",".join([f'{name}="{_escaped(value)}"' for name, value in zip(self.labels, values, strict=True)])

    def drop(self, agency: str, part: str | None = None) -> None:
        """Remove the series of a part, or all series of the agency."""
        parts = self._lines.get(agency, {})
        if part is not None:
            parts.pop(part, None)
        if part is None or not parts:
            self._lines.pop(agency, None)

    def keep(self, agency: str, parts: Iterable[str]) -> None:
        """Remove the series of an agency's parts that are not in *parts*."""
        for part in self._lines.get(agency, {}).keys() - set(parts):
            self.drop(agency, part)

    def pieces(self, *, open_metrics: bool = False) -> Iterator[bytes]:
        """Yield the family as text, in pieces. OpenMetrics declares a counter without the suffix `_total`."""
        name = self.name.removesuffix("_total") if open_metrics and self.kind == "counter" else self.name
        yield f"# HELP {name} {self.help_text}\n# TYPE {name} {self.kind}\n".encode()
        # `list` copies a dictionary's values atomically: the event loop may change them while another thread reads.
        agencies = list(self._lines.values())
        for start in range(0, len(agencies), _AGENCIES_PER_PIECE):
            agencies_in_piece = agencies[start : start + _AGENCIES_PER_PIECE]
            yield b"".join(chain.from_iterable(list(parts.values()) for parts in agencies_in_piece))


def accepts_open_metrics(accept: str) -> bool:
    """Whether an Accept header prefers OpenMetrics to the older text format. Prometheus's own header does."""
    try:
        _, content_type = choose_encoder(accept)
    except (TypeError, ValueError):
        return False  # The version is not a number.
    return content_type.startswith("application/openmetrics-text")


def _escaped(value: str) -> str:
    return value.translate(_ESCAPES)


def _number(value: float) -> str:
    # Round to milliseconds: further digits of network times are noise, and would take a fifth of a scrape.
    return "NaN" if math.isnan(value) else f"{round(value, 3):.15g}"
