"""What is kept, and by which time: the port to the store, the chain of its journal, the clock."""
