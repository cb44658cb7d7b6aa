"""Evaluation of runs: fault attribution, health of routes and agencies, incident types, liveness of this process.

The modules are pure: they do no I/O, and the caller passes the time.
"""
