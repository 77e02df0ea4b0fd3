"""The plugin; `_registered_*.py` registers with it. Nothing here imports torch."""

import importlib

from qiime2.plugin import Citations, Plugin

from aam_core.runtime.forks import one_thread_in_forks
from q2_aam import __version__

citations = Citations.load("citations.bib", package="q2_aam")
TRANSFORMER = [citations["vaswani2017attention"], citations["paszke2019pytorch"]]
UNIFRAC = [citations["lozupone2005unifrac"]]
CHARTS = [citations["vanderplas2018altair"]]
SHAPLEY = [citations["strumbelj2014explaining"], citations["mitchell2022sampling"]]
FOREST = [citations["breiman2001forests"], citations["pedregosa2011scikit"]]

plugin = Plugin(
    name="aam",
    version=__version__,
    website="https://qiime2.org",
    package="q2_aam",
    short_description="Deep learning on amplicon sequence variants.",
    description=(
        "A transformer reads the nucleotides of each amplicon sequence variant (ASV), "
        "the ASVs of each sample, and the sample. It is pre-trained without labels on "
        "masked nucleotides and UniFrac, and then learns to predict sample metadata: "
        "numbers or classes."
    ),
    citations=[citations["q2aam"], citations["bolyen2019qiime2"]],
)

#: Modules that register with `plugin`, which they import from here.
REGISTERED = (
    "_registered_types",
    "_registered_training",
    "_registered_insight",
    "_registered_samples",
    "_transformers",
    "_validators",
)

one_thread_in_forks()
for name in REGISTERED:
    importlib.import_module(f"q2_aam.{name}")
