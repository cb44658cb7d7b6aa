"""Sign-in and authorization of the portal: users, invitations, sessions."""
