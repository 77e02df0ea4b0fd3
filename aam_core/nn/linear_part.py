"""The linear model of the community that networks of schema 1 have: it is read only.

Each ASV adds its contribution times the log of its abundance. The contribution is a
smooth function of the ASV's embedding, in random Fourier features (Rahimi & Recht
2007). Since then the kernel is a member of the ensemble instead.

Shapes: N samples, S of a batch, A ASVs of the largest, U distinct ASVs, D width, K
features, O outputs, C categorical columns.
"""

import numpy as np
import torch
from torch import Tensor, nn

from aam_core.data.batches import Batch
from aam_core.nn.head import HeadShape

#: Abundances are counted as if of so many reads: log10(1 + READS · abundance).
READS = 10_000


def level(abundance: Tensor) -> Tensor:
    """By how much an ASV of this relative abundance counts; 0 where it is not."""
    return (1 + READS * abundance).log10()


class LinearPart(nn.Module):
    """The model itself; nothing of it is trained by gradients.

    Parameters
    ----------
    width : int
        D.
    shape : HeadShape
        What is predicted, and from which covariates; K is its `linear`.
    weighted : bool
        Whether abundances count; else only which ASVs there are.
    """

    def __init__(self, width: int, shape: HeadShape, weighted: bool) -> None:
        super().__init__()
        self.shape = shape
        self.weighted = weighted
        features = shape.linear
        sizes = {
            "frequency_DK": (width, features),
            "phase_K": (features,),
            "weight_KO": (features, shape.outputs),
            "category_CO": (sum(shape.cardinalities), shape.outputs),
            "bias_O": (shape.outputs,),
            "mixing_weight": (),
        }
        for name, size in sizes.items():
            self.register_buffer(name, torch.zeros(size))
        self.register_load_state_dict_pre_hook(_read_earlier_names)

    def features(self, asv_UD: Tensor) -> Tensor:
        """(U, K) of ASV embeddings."""
        return (asv_UD.float() @ self.frequency_DK + self.phase_K).cos()

    def sums(self, batch: Batch, of_asvs: Tensor) -> Tensor:
        """(S, …): what the ASVs of each sample add, of (U, …)."""
        counted_SA = batch.present_SA.float()
        if self.weighted:
            counted_SA = level(batch.abundance_SA)
        counted_SU = counted_SA.new_zeros(len(counted_SA), len(of_asvs))
        counted_SU.scatter_add_(1, batch.index_SA, counted_SA)
        return counted_SU @ of_asvs

    def contributions(self, asv_UD: Tensor) -> Tensor:
        """What each ASV adds per unit of `level`, (U, O)."""
        with torch.autocast(asv_UD.device.type, enabled=False):
            return self.features(asv_UD) @ self.weight_KO

    def forward(self, batch: Batch, added_UO: Tensor) -> Tensor:
        """Return (S, O), scaled targets or logits, by the ASVs' `contributions`."""
        with torch.autocast(added_UO.device.type, enabled=False):
            out_SO = self.sums(batch, added_UO)
            if batch.categories_SK is not None and len(self.category_CO):
                starts = torch.from_numpy(self._starts()).to(batch.categories_SK)
                out_SO += self.category_CO[batch.categories_SK + starts].sum(dim=1)
            return out_SO + self.bias_O

    def _starts(self) -> np.ndarray:
        """Where the categories of each column start among all."""
        return np.cumsum([0, *self.shape.cardinalities])[:-1]

    def mixed(self, target: Tensor, linear_SO: Tensor) -> Tensor:
        """The network's output, mixed with the linear model's.

        Parameters
        ----------
        target : Tensor
            (S, O) logits, (S, O) scaled predictions, or (S, O, Q) scaled quantiles.
        linear_SO : Tensor
            What `forward` returns.

        Returns
        -------
        Tensor
            Of the shape of `target`. Classes are mixed by their probabilities;
            quantiles are all moved by as much as their median.
        """
        target, weight = target.float(), self.mixing_weight
        if self.shape.classes:
            network, linear = target.log_softmax(-1), linear_SO.log_softmax(-1)
            return torch.logaddexp(network + (1 - weight).log(), linear + weight.log())
        if self.shape.quantiles:
            moved_SO = weight * (linear_SO - target[..., self.shape.median])
            return target + moved_SO[..., None]
        return torch.lerp(target, linear_SO, weight)


def _read_earlier_names(
    module: nn.Module, state: dict[str, Tensor], prefix: str, *rest: object
) -> None:
    """Before 0.1.0 was released, the mixing weight was saved as `share`."""
    if f"{prefix}share" in state:
        state[f"{prefix}mixing_weight"] = state.pop(f"{prefix}share")
