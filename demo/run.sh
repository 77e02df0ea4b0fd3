#!/usr/bin/env bash
# The whole tour on real data: from a table to reports, new samples, and an encoder of
# one's own. Every command is shown before it runs. Start it with `make demo`.
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

# The front door: a model, a forest, out-of-fold predictions of both, and a report; and
# what the model makes of samples whose labels nobody knows.
# $1 name of the target, $2 metadata column, $3 classify or regress
learn() {
  run qiime aam "$3-samples" \
    --i-table $OUT/labelled-table.qza \
    --i-sequences $OUT/sequences.qza \
    --i-phylogeny $OUT/phylogeny.qza \
    --m-metadata-file $IN/labelled.tsv \
    --m-metadata-column "$2" \
    --o-model "$OUT/$1-model.qza" \
    --o-predictions "$OUT/$1-predictions.qza" \
    --o-details "$OUT/$1-details.qza" \
    --o-forest-predictions "$OUT/$1-forest-predictions.qza" \
    --o-forest-details "$OUT/$1-forest-details.qza" \
    --o-importance "$OUT/$1-importance.qza" \
    --o-contributions "$OUT/$1-contributions.qza" \
    --o-report "$OUT/$1-report.qzv" \
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

title "2. Latitude, a number: a table and a column are all that it takes"
learn latitude latitude regress

title "3. Region, a class: the same"
learn region Region classify

title "4. An encoder of these samples alone, 82 with and without labels, by UniFrac"
run qiime aam pretrain \
  --i-table $OUT/table.qza \
  --i-sequences $OUT/sequences.qza \
  --i-phylogeny $OUT/phylogeny.qza \
  --p-preset tiny \
  --p-rarefy-depth $DEPTH \
  --p-epochs 20 --p-lr 0.001 \
  --o-encoder $OUT/encoder.qza \
  --verbose
run qiime aam summarize \
  --i-model $OUT/encoder.qza \
  --o-visualization $OUT/encoder.qzv
run qiime aam embed \
  --i-table $OUT/table.qza \
  --i-sequences $OUT/sequences.qza \
  --i-encoder $OUT/encoder.qza \
  --o-embedding $OUT/embedding.qza \
  --o-asv-embedding $OUT/asv-embedding.qza \
  --o-distance-matrix $OUT/predicted-unifrac.qza \
  --o-pcoa $OUT/pcoa.qza \
  --verbose

# the pages alone, for a browser
for name in latitude region; do
  qiime tools export --input-path $OUT/$name-report.qzv \
    --output-path $OUT/$name-report >/dev/null
done

title "Done in $((SECONDS / 60)) min $((SECONDS % 60)) s"
echo "This shows how it is done, not how well: 21 labelled samples prove nothing"
echo "about accuracy. Each vineyard has further samples in other folds, so no sample"
echo "that is predicted is from a new place."
echo
echo "Visualizations, for https://view.qiime2.org or 'qiime tools view':"
ls $OUT/*.qzv | sed 's/^/  /'
echo "The reports, for any browser:"
ls $OUT/*-report/index.html | sed 's/^/  /'
