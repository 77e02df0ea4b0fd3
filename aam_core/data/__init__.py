"""What a model reads and predicts: tables, sequences, metadata, distances, batches."""
