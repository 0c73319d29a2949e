#!/usr/bin/env bash
# Install Debian's Slurm and munge, where they are not there already; as root.
set -euo pipefail
command -v slurmctld >/dev/null && command -v munged >/dev/null && exit
apt-get update -q
DEBIAN_FRONTEND=noninteractive apt-get install -y -q slurm-wlm munge
