"""Commands on the store: copy, restore, move; agencies' documents, secrets, sites."""
