"""The stages in order. Each is skipped when its inputs' fingerprint has not changed.

After training, stages talk only through the artifacts on disk: train leaves a model folder, evaluate an evaluation,
bundle a bundle.
"""
