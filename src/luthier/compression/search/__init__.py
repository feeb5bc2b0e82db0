"""The search for a smaller and faster model that keeps a contract."""
