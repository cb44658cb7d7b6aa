"""Who signs in to the portal, and who may: users, invitations, sessions."""
