"""The general encoder: pre-trained on simulated communities of reference sequences.

`python -m tools.general_encoder --help` says how; docs/general-encoder.md is its card.
"""
