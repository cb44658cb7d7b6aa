"""Benchmark of the product against its libraries: `make bench`, or a part: `python -m tests.bench cpu`.

If possible a figure is a ratio to a baseline that was measured in turn on the same machine, because absolute figures
differ between machines. `make test` runs none of it.
"""
