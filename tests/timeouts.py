"""Timeout of tests that wait for something which happens at once."""

from __future__ import annotations

#: In seconds. Long enough for a busy machine, and shorter than the product's deadlines that a test sets to show that
#: the product does not wait for them.
HANG_TIMEOUT = 15
