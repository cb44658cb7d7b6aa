"""What people do to records that stand: write agencies' documents anew, let records follow a name, take them out."""
