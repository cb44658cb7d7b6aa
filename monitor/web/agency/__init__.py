"""Pages of one agency: history, month, tests, drills, and the forms that edit its document."""
