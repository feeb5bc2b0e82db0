"""What is asked of a predictor: metrics with intervals, baselines, slices, mistakes, comparisons."""
