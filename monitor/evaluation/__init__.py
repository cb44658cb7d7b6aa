"""Evaluation: fault attribution of runs, health of routes and agencies, incident types, liveness of this process.

Pure.
"""
