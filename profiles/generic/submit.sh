#!/usr/bin/env bash
# submit.sh RULE THREADS MEMORY_MB MINUTES GPUS SCRIPT: submit a job and print its number alone.
set -euo pipefail
mkdir -p logs/cluster
gpus=()
[ "$5" -eq 0 ] || gpus=(--nodes=1 "--gpus=$5")
# Set your partition and account here: --partition=main --account=mine
job=$(sbatch --parsable --job-name="saev-$1" --output="logs/cluster/$1-%j.out" \
  --ntasks=1 --cpus-per-task="$2" --mem="$3" --time="$4" "${gpus[@]}" "$6")
echo "${job%%;*}"  # where there are several clusters, the name of one follows
