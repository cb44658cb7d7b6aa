"""Where everything that must outlive the process is kept."""
