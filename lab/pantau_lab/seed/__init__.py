"""What the demo begins with: who may sign in, and ninety days of history, in a store that no service has opened yet."""
