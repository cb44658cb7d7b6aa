"""Probe kinds, one module each. Each module defines `KIND`, and is found by listing the package."""
