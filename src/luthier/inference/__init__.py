"""Predictor and runtimes. Needs no training; a runtime needs no torch unless it is torch."""
