"""HTTP only: the app, its batching window, its metrics, its server. Answers come from the one `Predictor`."""
