"""The HTML report and the model card: both drawn from a run's files alone."""
