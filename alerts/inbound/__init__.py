"""Replies of people, by key, SMS or PIN, and their effects."""
