"""Backbone + heads + tuning method → module. Backbones come from Transformers; heads are ours and lie outside them."""
