"""What the product costs, against what it is made of: `make bench`, or a part of it with `python -m tests.bench cpu`.

Every figure that can be is a ratio to a baseline that was run in turn with it, on the same machine; absolute figures do
not travel. Nothing here is run by `make test`.
"""
