#!/bin/sh
# A SLURM cluster of this one machine, for tests: installs Debian's packages, configures them on loopback and starts
# munged, slurmctld and slurmd without systemd. Does nothing where a cluster already answers.
#
#   tests/cluster/install_slurm.sh        install what is missing, configure, start; says "started" if it did
#   tests/cluster/install_slurm.sh stop
#
# Needs root on Debian or Ubuntu, and a package mirror to install from. Exits with 3 and a reason where it cannot.
set -eu

folder=/var/tmp/suite-slurm
nodes=2

refuse() {
    echo "no SLURM: $1" >&2
    exit 3
}

stop() {
    for name in slurmd-1 slurmd-2 slurmctld munged; do
        if [ -f "$folder/$name.pid" ]; then
            kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
            rm -f "$folder/$name.pid"
        fi
    done
}

if [ "${1:-}" = stop ]; then
    stop
    exit 0
fi
if timeout 5 sinfo --noheader 2>/dev/null | grep -q .; then
    exit 0
fi
[ "$(id -u)" = 0 ] || refuse "the daemons are started by root"
if ! command -v slurmctld >/dev/null || ! command -v slurmd >/dev/null || ! command -v munged >/dev/null; then
    command -v apt-get >/dev/null || refuse "only Debian's packages are known here"
    export DEBIAN_FRONTEND=noninteractive
    timeout 60 apt-get update -qq >/dev/null 2>&1 || refuse "the package mirror does not answer"
    timeout 150 apt-get install -qq -y --no-install-recommends slurmctld slurmd slurm-client munge >/dev/null 2>&1 ||
        refuse "slurmctld, slurmd, slurm-client and munge could not be installed"
fi

stop
mkdir -p "$folder/state" /run/munge /etc/slurm
host=$(hostname)
address=127.0.0.1
cpus=$(nproc)
memory=$(($(awk '/MemTotal/ {print $2}' /proc/meminfo) / 1024 - 512))

[ -f /etc/munge/munge.key ] || dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 2>/dev/null
chown munge: /etc/munge/munge.key /run/munge
chmod 400 /etc/munge/munge.key
chmod 755 /run/munge

# Two slurmd share the machine, each with all its cores: tests oversubscribe. A requeued job may not start before its
# old credential has run out, so that time is short here. Without cgroups: containers often have none to give.
cat >/etc/slurm/slurm.conf <<CONF
ClusterName=suite
SlurmctldHost=$host($address)
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=cred_expire=5
StateSaveLocation=$folder/state
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmdSpoolDir=$folder/spool-%n
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
SlurmctldPort=16817
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=1
ReturnToService=2
JobRequeue=1
KillWait=10
MaxArraySize=1001
NodeName=1 NodeHostname=$host NodeAddr=$address Port=16818 CPUs=$cpus RealMemory=$memory State=UNKNOWN
NodeName=2 NodeHostname=$host NodeAddr=$address Port=16819 CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF

runuser -u munge -- munged --force --pid-file=/run/munge/munged.pid >/dev/null 2>&1 || refuse "munged does not start"
cp /run/munge/munged.pid "$folder/munged.pid"
slurmctld || refuse "slurmctld does not start, see $folder/slurmctld.log"
number=1
while [ "$number" -le "$nodes" ]; do
    mkdir -p "$folder/spool-$number"
    slurmd -N "$number" || refuse "slurmd does not start, see $folder/slurmd-$number.log"
    number=$((number + 1))
done
waited=0
until sinfo --noheader --format %T 2>/dev/null | grep -q -E 'idle|mixed|allocated'; do
    [ "$waited" -lt 30 ] || refuse "its nodes do not come up, see $folder"
    sleep 1
    waited=$((waited + 1))
done
echo started
