"""Pages of one agency: history, monthly report, tests, drills, and forms that edit its YAML configuration."""
