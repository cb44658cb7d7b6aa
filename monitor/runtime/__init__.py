"""Runtime support: clock, periodic tasks, cooperative loops, sockets, systemd, plug-ins."""
