"""What people on duty ask and order."""
