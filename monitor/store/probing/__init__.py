"""What the probing keeps: runs, hours and tokens, which processes there are and what was configured."""
