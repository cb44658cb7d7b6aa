"""What people answer, by key, SMS or PIN, and what comes of it."""
