"""What the head reads beside the transformers: features of all ASVs of a sample.

An attention pooling says of a sample what D numbers can hold. Close relatives that act
differently are lost in it, and on the some hundred samples of a study it does not learn
to tell them apart. The features of `data.sample_features` are wide and fixed; what they
mean for the target is learned.

Shapes: S samples, V features of a sample, D width.
"""

import torch
from torch import Tensor, nn

from aam_core.data.sample_features import blocks

#: Features start with this standard deviation, on average.
SPREAD = 0.5
#: What the transformers' embedding, whose spread is 1, is multiplied by: in full it
#: drowns what is learned of the features in studies of some hundred samples.
TRANSFORMERS = 0.3


class WidePooling(nn.Module):
    """Features of samples, standardised, and what they mean to the embedding.

    Parameters
    ----------
    features : int
        Numbers of each block of the features.
    width : int
        D.
    dropout : float
        Of the hidden units, in training.
    """

    def __init__(self, features: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        total = blocks(features) * features
        self.block = features
        self.register_buffer("mean_V", torch.zeros(total))
        self.register_buffer("scale_V", torch.ones(total))
        self.layers = nn.Sequential(
            nn.Linear(total, 2 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
        )

    @torch.no_grad()
    def standardise(self, features_NV: Tensor) -> None:
        """Set centre and scale, one of each block, by training samples."""
        mean_V = features_NV.mean(dim=0)
        variance_V = (features_NV - mean_V).square().mean(dim=0)
        of_block = variance_V.unflatten(0, (-1, self.block)).mean(dim=1).sqrt()
        scale = SPREAD / of_block.clamp_min(1e-6)
        self.mean_V.copy_(mean_V)
        self.scale_V.copy_(scale.repeat_interleave(self.block))

    def forward(self, sample_SD: Tensor, features_SV: Tensor) -> Tensor:
        """Join features of samples (S, V) to what the transformers pooled (S, D)."""
        learned_SD = self.layers((features_SV - self.mean_V) * self.scale_V)
        return TRANSFORMERS * sample_SD + learned_SD
