"""Measurements of q2-aam; not tests."""
