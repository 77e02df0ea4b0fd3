"""The engine of q2-aam: deep learning for microbial communities, in PyTorch."""

import os

# Threads that wait for each other actively stand in each other's way where cores are
# shared with other programs: a step then takes several times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
