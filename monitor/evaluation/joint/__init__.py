"""How what several sites judge becomes one: what a site says, whether it is fresh, and what enough of them say. Decisions only."""
