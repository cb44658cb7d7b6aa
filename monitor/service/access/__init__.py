"""Sign-in and authorization of the portal (Pantau's web pages and API): users, sessions, tokens, wallboards, secrets."""
