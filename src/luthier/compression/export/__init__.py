"""A bundle written for another runtime, with proof that it answers as before. One file per format."""
