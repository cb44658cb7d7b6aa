"""How a server receives a stranger: sessions up to where somebody would sign in."""
