"""One training run: its session, loop, memory, and how it resumes."""
