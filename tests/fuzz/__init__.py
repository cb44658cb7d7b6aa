"""What strangers feed us, and what must hold whatever it is: a module a family of parsers, each ending with its targets.

`tests/unit/test_fuzz.py` runs all of them over what is known and over a little that is drawn; `make fuzz` goes on for as
long as one likes.
"""
