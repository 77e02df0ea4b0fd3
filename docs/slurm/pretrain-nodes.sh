#!/bin/bash
# Pre-training on all GPUs of several nodes. Adapt the partition, the numbers of nodes and
# GPUs, the environment and the paths, then:
#   sbatch docs/slurm/pretrain-nodes.sh table.biom sequences.fasta tree.nwk encoder/
# On one node: --nodes=1. To resume a run that was stopped, submit it again.
#SBATCH --job-name=aam-pretrain
#SBATCH --partition=gpu
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --mem=256G
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

source "${AAM_ENV:-.venv}/bin/activate"
gpus=${SLURM_GPUS_ON_NODE:-4}
export OMP_NUM_THREADS=$(( ${SLURM_CPUS_PER_TASK:-$gpus} / gpus ))
# Time to end well after SIGTERM:
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=240
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# A job that is requeued, or submitted again, resumes what it had begun.
resume=()
if [ -f "$output/checkpoints/last/state.pt" ]; then
  resume=(--resume-from "$output")
fi

# One torchrun per node; it starts one process per GPU.
srun torchrun \
  --nnodes="$SLURM_JOB_NUM_NODES" \
  --nproc_per_node="$gpus" \
  --rdzv_id="$SLURM_JOB_ID" \
  --rdzv_backend=c10d \
  --rdzv_endpoint="$first:29500" \
  -m aam_core pretrain \
  --table "$table" \
  --sequences "$sequences" \
  --tree "$tree" \
  --output-dir "$output" \
  "${resume[@]}" \
  --device cuda \
  --strategy fsdp \
  --preset large \
  --mixed-precision bf16 \
  --batch-size 64 \
  --num-workers 2 \
  --memory-profile
