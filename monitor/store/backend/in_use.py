"""Says that the store is not ours to use, but somebody else's."""


class StoreInUseError(Exception):
    """Another process has the store, or our name there. The message says what to do."""
