"""The pages about one agency: its history, month, tests and drills, and the forms that write its document."""
