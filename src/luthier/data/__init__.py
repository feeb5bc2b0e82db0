"""From a source to batches: source → rows → splits → features → batches."""
