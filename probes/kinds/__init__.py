"""Probe kinds, one module each. A module ends with `KIND`; listing the package finds it."""
