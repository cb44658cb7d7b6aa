"""Administrative changes of stored records: writing agencies' documents, renaming, and purging."""
