"""Lets `python -m monitor.cli` be the command."""

from monitor.cli import main

main()
