#!/usr/bin/env bash
# The whole tour on real data: pre-train, train, predict, and a random forest to
# compare with. Every command is shown before it runs. Start it with `make demo`.
set -euo pipefail
cd "$(dirname "$0")/.."

OUT=demo-output
IN=$OUT/input
DEPTH=400 # the smallest sample has 417 reads

title() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

# Show a command, one option a line, and run it.
run() {
  local word line=''
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./-]+$ ]] || word=${word@Q}
    case $word in
      --*) line+=$' \\\n    '"$word" ;;
      *) line+=" $word" ;;
    esac
  done
  printf '\n$%s\n' "$line"
  "$@"
}

# What is done for each target, after pre-training.
# $1 name of the target, $2 metadata column, $3 task
learn() {
  run qiime aam train \
    --i-table $OUT/labelled-table.qza \
    --i-sequences $OUT/sequences.qza \
    --i-encoder $OUT/encoder.qza \
    --m-metadata-file $IN/labelled.tsv \
    --p-metadata-column "$2" \
    --p-task "$3" \
    --p-rarefy-depth $DEPTH \
    --p-freeze-base --p-batch-size 4 \
    --o-model "$OUT/$1-model.qza" \
    --o-predictions "$OUT/$1-predictions.qza" \
    --o-details "$OUT/$1-details.qza" \
    --verbose
  run qiime aam rf-baseline \
    --i-table $OUT/labelled-table.qza \
    --i-model "$OUT/$1-model.qza" \
    --m-metadata-file $IN/labelled.tsv \
    --o-predictions "$OUT/$1-forest-predictions.qza" \
    --o-details "$OUT/$1-forest-details.qza" \
    --o-importance "$OUT/$1-forest-importance.qza" \
    --verbose
  run qiime aam predict \
    --i-table $OUT/unlabelled-table.qza \
    --i-sequences $OUT/sequences.qza \
    --i-model "$OUT/$1-model.qza" \
    --o-predictions "$OUT/$1-new-predictions.qza" \
    --o-details "$OUT/$1-new-details.qza" \
    --verbose
  run qiime metadata tabulate \
    --m-input-file "$OUT/$1-new-details.qza" \
    --o-visualization "$OUT/$1-new-details.qzv"
}

# The same picture of the model's and of the forest's predictions, each sample by what
# was fitted without its fold.
# $1 name of the target, $2 metadata column, $3 visualizer of q2-sample-classifier
show() {
  local who
  for who in "$1" "$1-forest"; do
    run qiime sample-classifier "$3" \
      --i-predictions "$OUT/$who-predictions.qza" \
      --m-truth-file $IN/labelled.tsv \
      --m-truth-column "$2" \
      --o-visualization "$OUT/$who-predictions.qzv"
  done
}

rm -rf $OUT
SECONDS=0

title "1. Data: must of Chardonnay grapes, sequenced at the V4 region of the 16S rRNA gene"
python demo/prepare.py $IN
run qiime tools import \
  --type FeatureData[Sequence] \
  --input-path $IN/sequences.fasta \
  --output-path $OUT/sequences.qza
run qiime tools import \
  --type Phylogeny[Rooted] \
  --input-path $IN/tree.nwk \
  --output-path $OUT/phylogeny.qza
run qiime feature-table filter-features \
  --i-table $IN/chardonnay-table.qza \
  --m-metadata-file $IN/features.tsv \
  --o-filtered-table $OUT/table.qza
for part in labelled unlabelled; do
  run qiime feature-table filter-samples \
    --i-table $OUT/table.qza \
    --m-metadata-file $IN/$part.tsv \
    --o-filtered-table $OUT/$part-table.qza
done

title "2. Pre-train an encoder on all 82 samples: no labels are used"
run qiime aam pretrain \
  --i-table $OUT/table.qza \
  --i-sequences $OUT/sequences.qza \
  --i-phylogeny $OUT/phylogeny.qza \
  --p-preset tiny \
  --p-rarefy-depth $DEPTH \
  --p-epochs 40 --p-lr 0.001 \
  --o-encoder $OUT/encoder.qza \
  --verbose

title "3. Region: learn from 21 samples, each predicted without its fold; a random forest"
learn region Region classification

title "4. The same for a number: latitude"
learn latitude latitude regression

title "5. Pictures"
show region Region confusion-matrix
show latitude latitude scatterplot
python demo/pictures.py $OUT

title "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "This shows how it is done, not how well: 21 labelled samples prove nothing"
echo "about accuracy. Each vineyard has further samples in other folds, so no sample"
echo "that is predicted is from a new place."
echo
echo "Pictures to open:"
ls $OUT/*.png | sed 's/^/  /'
echo "Interactive ones, for https://view.qiime2.org or 'qiime tools view':"
ls $OUT/*.qzv | sed 's/^/  /'
