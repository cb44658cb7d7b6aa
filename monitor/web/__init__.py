"""What the service shows and hears over HTTP: status page, API, metrics, providers' callbacks, the control socket.

Three listeners, apart: people and Prometheus (`portal`), telephone providers (`callbacks`), the command line (`control`,
a Unix socket).
"""
