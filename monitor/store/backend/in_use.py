"""The store is not ours to use."""


class StoreInUseError(Exception):
    """Another process has the store, or our name there. The message says what to do."""
