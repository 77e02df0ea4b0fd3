#!/bin/bash
# Fine-tuning of a pre-trained encoder on one GPU. Adapt the partition, the environment
# and the paths, then:
#   sbatch docs/slurm/train.sh table.biom sequences.fasta metadata.tsv age encoder/ model/
#SBATCH --job-name=aam-train
#SBATCH --partition=gpu
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

if [ "$#" -ne 6 ]; then
  echo "usage: sbatch $0 TABLE SEQUENCES METADATA COLUMN ENCODER OUTPUT_DIR" >&2
  exit 2
fi
table=$1 sequences=$2 metadata=$3 column=$4 encoder=$5 output=$6

source "${AAM_ENV:-.venv}/bin/activate"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

# A job that is requeued, or submitted again, resumes what it had begun.
resume=()
if [ -f "$output/checkpoints/last/state.pt" ]; then
  resume=(--resume-from "$output")
fi

srun aam train \
  --table "$table" \
  --sequences "$sequences" \
  --metadata "$metadata" \
  --metadata-column "$column" \
  --pretrained-encoder "$encoder" \
  --freeze-base \
  --output-dir "$output" \
  "${resume[@]}" \
  --device cuda \
  --batch-size 32 \
  --memory-profile
