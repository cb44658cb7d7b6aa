"""Pages for duty officers: tasks, an incident with its forms, on-call rotas."""
