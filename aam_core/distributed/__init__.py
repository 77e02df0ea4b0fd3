"""How one run computes on several devices; knows nothing of a model's insides."""
