"""Running a model without training it: each ASV is encoded once."""
