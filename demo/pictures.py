"""Draw the demo's results: the course of pre-training, and out-of-fold predictions."""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import qiime2
from matplotlib.axes import Axes

SIDES = {"q2-aam": "", "random forest": "forest-"}
COLOURS = {"q2-aam": "#2a6f97", "random forest": "#bc6c25"}


def main(output: Path) -> None:
    """Draw all pictures of the results in `output`."""
    plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False}
    truth = pd.read_csv(output / "input" / "labelled.tsv", sep="\t", index_col=0)
    for name, draw in {"region": draw_region, "latitude": draw_latitude}.items():
        figure = draw(output, truth.sort_values(["Region", "Vineyard"]))
        figure.savefig(output / f"{name}.png", dpi=150, bbox_inches="tight")
    figure = draw_pretraining(frame(output / "encoder.qza"))
    figure.savefig(output / "pretraining.png", dpi=150, bbox_inches="tight")


def frame(path: Path) -> pd.DataFrame:
    """Read an artifact as the table that `qiime metadata tabulate` shows."""
    return qiime2.Artifact.load(path).view(qiime2.Metadata).to_dataframe()


def draw_pretraining(history: pd.DataFrame) -> plt.Figure:
    """Draw losses and accuracy against the epoch."""
    panels = {
        "unifrac_loss": "loss of UniFrac between samples",
        "nuc_accuracy": "masked nucleotides predicted rightly",
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(9, 3.2), layout="constrained")
    for ax, (name, label) in zip(axes, panels.items(), strict=True):
        for side, colour in {"train": "#2a6f97", "val": "#bc6c25"}.items():
            values = history[f"{side}_{name}"]
            label_of_side = {"train": "training", "val": "validation"}[side]
            ax.plot(history["epoch"], values, color=colour, label=label_of_side)
        ax.set(xlabel="epoch", ylabel=label)
        ax.legend(frameon=False)
    return figure


def draw_region(output: Path, truth: pd.DataFrame) -> plt.Figure:
    """Draw the probability of each region for each sample, by what left it out."""
    figure, axes = plt.subplots(
        1, 2, figsize=(10, 7), sharey=True, layout="constrained"
    )
    for ax, (side, prefix) in zip(axes, SIDES.items(), strict=True):
        probabilities = frame(output / f"region-{prefix}details.qza").loc[truth.index]
        right = (probabilities.idxmax(axis=1) == truth["Region"]).sum()
        print(f"Region, {side}: {right} of {len(truth)} left-out samples are right.")
        draw_probabilities(ax, probabilities, truth["Region"])
        ax.set_title(f"{side}: {right} of {len(truth)} right")
    names = [f"{i} ({r})" for i, r in truth["Region"].str.replace("_", " ").items()]
    axes[0].set_yticks(range(len(truth)), names)
    return figure


def draw_probabilities(ax: Axes, probabilities: pd.DataFrame, truth: pd.Series) -> None:
    """Draw one side's probabilities, with a frame around the true region."""
    ax.imshow(probabilities, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for (row, column), probability in np.ndenumerate(probabilities.to_numpy()):
        colour = "white" if probability > 0.5 else "black"
        ax.text(
            column, row, f"{probability:.2f}", ha="center", va="center", color=colour
        )
    for row, region in enumerate(truth):
        corner = (probabilities.columns.get_loc(region) - 0.5, row - 0.5)
        ax.add_patch(plt.Rectangle(corner, 1, 1, fill=False, ec="#bc6c25", lw=2))
    ax.set_xticks(
        range(probabilities.shape[1]), probabilities.columns.str.replace("_", "\n")
    )
    ax.set_xlabel("probability of each region (frame: the true one)")


def draw_latitude(output: Path, truth: pd.DataFrame) -> plt.Figure:
    """Draw predicted against true latitude, each sample by what left it out."""
    figure, axes = plt.subplots(
        1, 2, figsize=(8, 3.8), sharey=True, layout="constrained"
    )
    true = truth["latitude"]
    for ax, (side, prefix) in zip(axes, SIDES.items(), strict=True):
        predicted = frame(output / f"latitude-{prefix}predictions.qza").iloc[:, 0]
        predicted = predicted.astype(float).loc[truth.index]
        error = (predicted - true).abs().mean()
        print(f"Latitude, {side}: off by {error:.3f}° on average.")
        ax.plot(true, true, color="grey", lw=1, label="perfect")
        ax.scatter(true, predicted, color=COLOURS[side])
        ax.set(xlabel="latitude (°)", title=f"{side}: off by {error:.3f}° on average")
    axes[0].set_ylabel("predicted latitude (°)")
    axes[0].legend(frameon=False)
    return figure


if __name__ == "__main__":
    main(Path(sys.argv[1]))
