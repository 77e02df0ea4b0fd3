"""The least that the training loop can train: one weight, on numbers."""

import torch
from torch import nn


class Number:
    """Stands for a batch: a tensor that can be moved."""

    def __init__(self, value):
        self.value = torch.tensor(float(value))

    def to(self, device):
        return self


class Numbers(list):
    """Stands for a loader with its sampler."""

    def __init__(self, values):
        super().__init__(map(Number, values))
        self.sampler = type("Sampler", (), {"epoch": 0})()


def weight(value=0.0):
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, value)
    return model
