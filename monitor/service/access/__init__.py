"""Sign-in and authorization of the portal (the web pages and API): users, sessions, tokens, wallboards, secrets."""
