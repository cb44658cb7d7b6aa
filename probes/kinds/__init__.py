"""The kinds of probe, one module each. A module ends with `KIND`; whoever lists the package finds it."""
