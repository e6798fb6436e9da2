"""What every HTTP route shares: refusals, the guard before them, the server, the documents."""
