"""What is on paper, in the database: letters from the tray to the post, and the numbers that an older copy must not give again."""
