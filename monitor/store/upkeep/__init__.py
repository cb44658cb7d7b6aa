"""What people do to records that stand: let them follow a new name, or take them out on an authority."""
