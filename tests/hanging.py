"""When a test says that what it waits for hangs."""

from __future__ import annotations

#: In seconds. What is waited for comes at once where nothing else runs, and must come on a machine that is busy; shorter than
#: the deadlines that a test gives to the product to see that they are not waited for.
HANGS = 15
