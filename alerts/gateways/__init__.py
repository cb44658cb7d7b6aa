"""Ways to reach people: one module a gateway, each ending in one constant `GATEWAY`.

The package is listed at start. A module without `GATEWAY`, or whose kind bears another name, stops the start.
"""
