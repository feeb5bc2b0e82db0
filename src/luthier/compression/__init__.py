"""Making a bundle smaller or faster without losing what it answers."""
