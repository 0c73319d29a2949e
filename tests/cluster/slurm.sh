#!/usr/bin/env bash
# A real Slurm of two nodes with one core each on this machine: slurm.sh start|stop FOLDER, as root.
# `start` prints nothing but what fails; then SLURM_CONF=FOLDER/slurm.conf is all that a command needs.
set -euo pipefail
command=$1 folder=$2
mkdir -p "$folder/state"
host=$(hostname -s)

stop() {
  local file
  for file in "$folder"/*.pid; do
    if [ -f "$file" ]; then kill "$(cat "$file")" 2>/dev/null || true; fi
  done
}

start_munge() {
  # The key proves who sends a job; every daemon here is on this machine.
  install -d -o munge -g munge -m 711 /run/munge
  [ -f /etc/munge/munge.key ] || /usr/sbin/mungekey -c
  chown munge: /etc/munge/munge.key
  munge -n >/dev/null 2>&1 || su -s /bin/sh munge -c /usr/sbin/munged
}

write_conf() {
  cat >"$folder/slurm.conf" <<CONF
ClusterName=pairedit
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort=17100
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool_%n
SlurmctldPidFile=$folder/ctld.pid
SlurmdPidFile=$folder/slurmd_%n.pid
SlurmctldLogFile=$folder/ctld.log
SlurmdLogFile=$folder/slurmd_%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
JobRequeue=1
# A job that is put back waits as long as its node might still be cleaning up.
KillWait=20
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=17101 CPUs=1 RealMemory=8000 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=17102 CPUs=1 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
}

case $command in
  stop) stop ;;
  start)
    start_munge
    write_conf
    export SLURM_CONF=$folder/slurm.conf
    slurmctld -f "$SLURM_CONF"
    sleep 1
    for node in n1 n2; do slurmd -N "$node" -f "$SLURM_CONF"; done
    for _ in $(seq 30); do
      if [ "$(sinfo --noheader --states=idle --format=%D)" = 2 ]; then exit 0; fi
      sleep 1
    done
    sinfo >&2
    exit 1
    ;;
esac
