"""The options of the architecture, and what they come to.

Declared as `aam_core.config` describes.
"""

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

from aam_core.config.option import Options, option, shown
from aam_core.errors import InputError

#: Sizes of the model. `small` has the width, heads and depth of the documented
#: default of the peer; the others scale it down for a laptop and up for a GPU.
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {
        "embedding_dim": 64,
        "attention_heads": 4,
        "attention_layers": 2,
        "nucleotide_patch": 6,
    },
    "small": {
        "embedding_dim": 128,
        "attention_heads": 4,
        "attention_layers": 4,
        "nucleotide_patch": 6,
    },
    "medium": {
        "embedding_dim": 768,
        "attention_heads": 6,
        "attention_layers": 4,
        "nucleotide_patch": 1,
    },
    "large": {
        "embedding_dim": 1152,
        "attention_heads": 12,
        "attention_layers": 8,
        "nucleotide_patch": 1,
    },
}
DEFAULT_PRESET = "small"
#: Nucleotides that are read unless max_bp says otherwise.
LONGEST = 500


#: What every preset shares.
ARCHITECTURE: dict[str, Any] = {
    "dropout": 0.1,
    "count_embedding": True,
    "count_embedding_method": "add",
    "nucleotide_overlap": 0,
}


def _preset(name: str) -> Callable[[], str]:
    return lambda: f"{PRESETS[DEFAULT_PRESET][name]} (preset {DEFAULT_PRESET})"


def _common(name: str) -> Callable[[], str]:
    return lambda: shown(ARCHITECTURE[name])


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """The architecture. None: the preset's, or the pre-trained encoder's."""

    topic: typing.ClassVar[str] = "Model"

    preset: str | None = option(
        None,
        "Size of the model; single options below override it.",
        choices=tuple(PRESETS),
        shown=lambda: f"tiny on a CPU, else {DEFAULT_PRESET}",
        when="Choose tiny for a laptop or a first trial; medium and large are "
        "for GPUs and many samples, best pre-trained.",
    )
    embedding_dim: int | None = option(
        None,
        "Width of all embeddings.",
        low=8,
        high=16_384,
        shown=_preset("embedding_dim"),
        when="Change it only where no preset fits: wider learns more from many "
        "samples, narrower trains faster and overfits less.",
    )
    attention_heads: int | None = option(
        None,
        "Attention heads of a layer.",
        low=1,
        high=1024,
        shown=_preset("attention_heads"),
        when="Change it together with embedding_dim, which it must divide.",
    )
    attention_layers: int | None = option(
        None,
        "Layers of each of the transformers (nucleotides, sample, encoder).",
        low=1,
        high=256,
        shown=_preset("attention_layers"),
        when="Lower it where samples are few or time is short; raise it where "
        "samples are many and the training loss stays high.",
    )
    max_bp: int | None = option(
        None,
        "Longest sequence read; longer ones are cut, and the run says how many.",
        low=1,
        high=100_000,
        shown=lambda: f"the longest of the table, up to {LONGEST:,}",
        when="Raise it where the run says that sequences are cut and there is time "
        "(full-length 16S); lower it where one long sequence slows all down.",
    )
    nucleotide_patch: int | None = option(
        None,
        "Neighbouring nucleotides that share one position of the nucleotide "
        "transformer; 1 is the full per-nucleotide encoder.",
        low=1,
        high=64,
        shown=_preset("nucleotide_patch"),
        when="Set 1 where single nucleotides tell close relatives apart and a "
        "GPU is at hand: cost grows with the number of positions.",
    )
    nucleotide_overlap: int | None = option(
        None,
        "Nucleotides on either side that a position of the nucleotide transformer "
        "reads besides its own nucleotide_patch.",
        low=0,
        high=64,
        shown=_common("nucleotide_overlap"),
        when="Try half of nucleotide_patch: nucleotides are then predicted a little "
        "better at nearly the same cost; samples were not in our measurements.",
    )
    dropout: float | None = option(
        None,
        "Dropout between the layers in training.",
        low=0,
        high=1,
        open_high=True,
        shown=_common("dropout"),
        when="Raise it where the validation loss rises while the training loss "
        "falls; lower it where both stay high.",
    )
    count_embedding: bool | None = option(
        None,
        "Whether the abundance of each ASV is an input of the model.",
        shown=_common("count_embedding"),
        when="Turn it off where abundances are not comparable between samples "
        "(mixed protocols) and only presence should count.",
    )
    count_embedding_method: str | None = option(
        None,
        "How the abundance joins the ASV embedding.",
        choices=("add", "concat", "film"),
        shown=_common("count_embedding_method"),
        when="Try film where the meaning of an ASV depends on how abundant it "
        "is, concat where add mixes the two too much.",
        only_with={"count_embedding": (None, True)},
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """The concrete architecture of one model, as `config.json` keeps it."""

    embedding_dim: int
    attention_heads: int
    attention_layers: int
    nucleotide_patch: int
    max_bp: int
    dropout: float
    count_embedding: bool
    count_embedding_method: str
    nucleotide_overlap: int = 0  #: older models have no entry

    @property
    def reach(self) -> int:
        """Nucleotides that a position of the nucleotide transformer reads."""
        return self.nucleotide_patch + 2 * self.nucleotide_overlap


def resolve_architecture(
    options: ModelOptions,
    encoder: Architecture | None = None,
    longest: int = LONGEST,
) -> Architecture:
    """Fill what the options leave open from the preset or the encoder.

    Parameters
    ----------
    options : ModelOptions
        What the user chose.
    encoder : Architecture, optional
        The architecture of a pre-trained encoder.
    longest : int
        Nucleotides of the longest sequence.

    Returns
    -------
    Architecture

    Raises
    ------
    InputError
        If an option contradicts the encoder, or `attention_heads` does not divide
        `embedding_dim`.
    """
    names = [f.name for f in dataclasses.fields(Architecture)]
    chosen = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    if encoder is None:
        base = ARCHITECTURE | PRESETS[options.preset or DEFAULT_PRESET]
        base["max_bp"] = max(min(longest, LONGEST), 1)
    else:
        base = dataclasses.asdict(encoder)
        wanted = (PRESETS[options.preset] if options.preset else {}) | chosen
        wanted.pop("dropout", None)
        for name, value in wanted.items():
            if value != base[name]:
                raise InputError(
                    f"{name} is {value}, but the pre-trained encoder has {base[name]}: "
                    f"leave {name} out, or pre-train an encoder with it."
                )
    architecture = Architecture(**(base | chosen))
    if architecture.embedding_dim % architecture.attention_heads:
        raise InputError(
            f"embedding_dim {architecture.embedding_dim} cannot be divided among "
            f"{architecture.attention_heads} attention_heads: choose a multiple."
        )
    return architecture
