"""The model, from its layers to its losses; knows nothing of files and processes."""
