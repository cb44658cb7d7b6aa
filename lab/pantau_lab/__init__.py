"""The one place for stand-ins: what the world would be, in process, and breakable on purpose.

Serves `pantau demo`, `pantau lab` and the tests.
"""
