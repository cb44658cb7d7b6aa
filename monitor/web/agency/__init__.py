"""The pages on which officers edit their agency's document: forms, the whole text, versions."""
