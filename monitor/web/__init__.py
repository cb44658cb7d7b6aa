"""The HTTP interfaces of the service: status page, API, metrics, providers' callbacks and the control socket.

There are three separate listeners: people and Prometheus (`portal`), telephone providers (`callbacks`), the command
line (`control`, a Unix socket).
"""
