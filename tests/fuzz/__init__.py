"""Fuzz targets of parsers of untrusted input. Each module covers related parsers and ends with its targets.

`tests/unit/test_fuzz.py` runs all targets with known and a few generated inputs; `make fuzz` runs longer.
"""
