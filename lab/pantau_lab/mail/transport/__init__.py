"""How a message travels from one system to another, and what comes back."""
