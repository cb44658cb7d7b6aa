"""Commands for people on duty: incidents, notifications, silences, drills and the on-call rota."""
