"""Pure functions on arrays: how good, how calibrated, how certain, and which labels look wrong."""
