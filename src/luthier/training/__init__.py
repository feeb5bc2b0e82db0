"""One loop for every method: optimisation, precision, randomness, world, checkpoints."""
