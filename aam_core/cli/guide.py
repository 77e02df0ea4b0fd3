"""Guides that the command line prints and docs/ holds, written in one place."""

COVARIATES = """\
# Categorical covariates

Name the metadata columns that the prediction may depend on beside the community, such
as season, site or host sex, in `--categorical-columns`. (In QIIME 2 an option is
`--p-categorical-columns`.) Their categories are learned from the training samples; a
missing value is a category of its own. `predict` needs the same columns.

## Which fusion?

1. Do the categories only shift the prediction, by as much in every community?
   `--categorical-fusion concat` (the default), or `add` where data are few.
   Start here.
2. Does the effect of the community depend on the category, or shall each sample weigh
   community against category? `--categorical-fusion gmu`.
3. Do some ASVs matter in one category and not in another?
   `--categorical-fusion cross-attention`: each ASV takes from the categories what its
   gate lets in, before the ASVs of the sample are looked at together.
4. Many covariates, or samples of very many ASVs? `--categorical-fusion perceiver`:
   `--perceiver-num-latents` learned latents read ASVs and categories. It has the most
   parameters and wants the most samples.

Where the community has an effect at one of two sites and none at the other (generated,
96 samples, a network without wide pooling, 60 epochs), concat and cross-attention
learned it with all of six seeds, perceiver with five, add with four, gmu with three. So
compare with concat before you keep another one.

`--cross-attn-heads` (of 3 and 4) must divide `--embedding-dim`.

## Does the level or the spread of the target differ between categories?

`--conditional-output-scaling COLUMN` learns a factor and an offset of the prediction
for each category. It goes well with concat and add; gmu, cross-attention and perceiver
can learn the same by themselves.

## Are some categories rare, or more important?

`--categorical-loss-weights winter=2,summer=1` lets a sample of winter count twice as
much; `auto` gives each category the same weight in sum. The categories are those of
`--categorical-loss-weight-column` (the first of `--categorical-columns`). Only ratios
matter: the weights are divided by their mean over the training samples.

## Does it learn the categories too slowly, or by heart?

`--categorical-lr` is the peak learning rate of all that reads the categories. Higher
than `--lr` suits a frozen encoder (`--freeze-base`); lower, or a smaller
`--categorical-embed-dim`, suits categories of few samples.

## What did it learn?

`history.tsv` and TensorBoard have, for the validation samples, the mean weight of the
community in the gate of gmu (`gmu/gate_mean`), and the mean attention of the ASVs to
the categories (`cross_attn/weight_mean`). Whether covariates help at all is told by a
run without them: the split is the same at the same `--seed`.

## Examples

    aam train --categorical-columns season,site ...
    aam train --categorical-columns season --categorical-fusion cross-attention ...
    aam train --categorical-columns site --conditional-output-scaling site ...

## From Python

Index 0 of a column is an unknown or missing category.

    from aam_core import CategoricalEncoder

    encoder = CategoricalEncoder.fit(metadata.loc[training], ["season", "site"])
    encoder.get_cardinalities()  # indices per column
    indices = encoder.transform(metadata, unknown="ignore")  # samples x columns
    encoder.schema.columns  # name, cardinality, embed_dim and required of each
"""
