#!/usr/bin/env bash
# A Slurm of one node without systemd, cgroups or a database. Needs root, and from Debian:
#   apt-get install --no-install-recommends slurm-wlm munge
# start.sh FOLDER CPUS MEMORY_MB GPUS; they may be more than the machine has. Replaces /etc/slurm.
set -euo pipefail
root=$1 cpus=$2 memory=$3 gpus=$4 host=$(hostname -s)
mkdir -p "$root"/{state,spool,log,dev} /etc/slurm /run/munge
chown munge:munge /run/munge /etc/munge/munge.key
chmod 755 /run/munge
munge -n >/dev/null 2>&1 || setpriv --reuid=munge --regid=munge --clear-groups /usr/sbin/munged
for _ in $(seq 50); do munge -n 2>/dev/null | unmunge >/dev/null 2>&1 && break; sleep 0.1; done
# A GPU must be a device; any will do, so these are as /dev/null.
for i in $(seq 0 $((gpus - 1))); do
  [ -c "$root/dev/gpu$i" ] || mknod "$root/dev/gpu$i" c 1 3
done
cat > /etc/slurm/slurm.conf <<CONF
# Written by the tests of saev.
ClusterName=tiny
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation=$root/state
SlurmdSpoolDir=$root/spool
SlurmctldPidFile=$root/slurmctld.pid
SlurmdPidFile=$root/slurmd.pid
SlurmctldLogFile=$root/log/slurmctld.log
SlurmdLogFile=$root/log/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MinJobAge=3600
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=500
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory Gres=gpu:$gpus State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=$host MaxTime=10 State=UP
CONF
printf 'AutoDetect=off\nNodeName=%s Name=gpu File=%s/dev/gpu[0-%d]\n' \
  "$host" "$root" $((gpus - 1)) > /etc/slurm/gres.conf
slurmctld -c
slurmd
for _ in $(seq 100); do sinfo -h -o %T 2>/dev/null | grep -q idle && exit 0; sleep 0.1; done
echo "the node doesn't become idle: see $root/log" >&2
exit 1
