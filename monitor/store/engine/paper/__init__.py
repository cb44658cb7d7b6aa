"""Letters in the database, and the numbers of letters that a restored database must not assign again."""
