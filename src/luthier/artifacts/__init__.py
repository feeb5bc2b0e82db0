"""The contract on disk: what stages leave for one another and for the user."""
