"""Scheduling decisions: due runs, admission, concurrency limits, deadlines, shards.

Pure: no I/O, the caller passes the time.
"""
