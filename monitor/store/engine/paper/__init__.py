"""Letters in the database, from the tray to the post, and the numbers that an older copy of the store must not assign again."""
