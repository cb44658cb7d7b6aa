"""The story on a machine of its own: by the documents, word for word, under a real systemd. Run by hand, as root."""
