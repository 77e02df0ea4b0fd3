#!/bin/bash
# Pre-training on one GPU. Adapt the partition, the environment and the paths, then:
#   sbatch docs/slurm/pretrain.sh table.biom sequences.fasta tree.nwk encoder/
#SBATCH --job-name=aam-pretrain
#SBATCH --partition=gpu
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --gpus=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

if [ "$#" -ne 4 ]; then
  echo "usage: sbatch $0 TABLE SEQUENCES TREE OUTPUT_DIR" >&2
  exit 2
fi
table=$1 sequences=$2 tree=$3 output=$4

# Only --compile-model needs a compiler:
# module load gcc
source "${AAM_ENV:-.venv}/bin/activate"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

# A job that is requeued, or submitted again, resumes what it had begun.
resume=()
if [ -f "$output/checkpoints/last/state.pt" ]; then
  resume=(--resume-from "$output")
fi

srun aam pretrain \
  --table "$table" \
  --sequences "$sequences" \
  --tree "$tree" \
  --output-dir "$output" \
  "${resume[@]}" \
  --device cuda \
  --preset medium \
  --mixed-precision bf16 \
  --auto-batch-size \
  --target-effective-batch-size 64 \
  --num-workers 4 \
  --memory-profile
