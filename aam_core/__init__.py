"""The engine of q2-aam: deep learning for microbial communities, in PyTorch."""

__version__ = "0.1.0"
