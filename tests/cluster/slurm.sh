#!/usr/bin/env bash
# A one-node Slurm for the tests, without systemd, as root on Debian: slurm.sh up | down. Both may be repeated.
# slurm.sh away takes the node from under its jobs, as a power cut would; `up` brings it back.
#
# SLURM_CPUS, SLURM_MEMORY_MB  what the node offers                  (all, 90 %)
# SLURM_CGROUP                 1: the kernel holds jobs to their memory, a task that exceeds it exits with 137;
#                              0: Slurm polls and kills the whole job, which leaves no exit status
#                              (1 where a cgroup v1 memory controller can be written)
set -euo pipefail
. "$(dirname "$0")/packages.sh"
etc=/etc/slurm log=/var/log/slurm spool=/var/spool/slurm
daemons=(/run/slurmd.pid /run/slurmctld.pid /run/munge/munged.pid) # in the order in which they stop

is_alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

stop() { # by the number in the daemon's own file, and only if it is one
    local pid
    if is_alive "$1"; then
        pid=$(cat "$1")
        case $(cat "/proc/$pid/comm") in slurmd | slurmctld | munged) ;; *) return ;; esac
        kill "$pid"
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
        ! kill -9 "$pid" 2>/dev/null || echo "killed $1"
    fi
    rm -f "$1"
}

controllers_are_writable() {
    [ -w /sys/fs/cgroup/memory/cgroup.procs ] && [ -w /sys/fs/cgroup/freezer/cgroup.procs ]
}

write_configuration() { # says whether it changed
    local host cpus memory track=proctrack/linuxproc plugin=task/none gather="JobAcctGatherParams=OverMemoryKill"
    host=$(hostname -s)
    cpus=${SLURM_CPUS:-$(nproc)}
    memory=${SLURM_MEMORY_MB:-$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)}
    rm -f $etc/cgroup.conf.new
    if [ "${SLURM_CGROUP:-$(controllers_are_writable && echo 1)}" = 1 ]; then
        track=proctrack/cgroup plugin=task/cgroup gather=""
        cat >$etc/cgroup.conf.new <<CONF
CgroupMountpoint=/sys/fs/cgroup
CgroupPlugin=cgroup/v1
CgroupAutomount=yes
ConstrainRAMSpace=yes
ConstrainSwapSpace=no
ConstrainCores=yes
ConstrainDevices=no
CONF
    else
        : >$etc/cgroup.conf.new
    fi
    cat >$etc/slurm.conf.new <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$spool/ctld
SlurmdSpoolDir=$spool/d
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=$log/slurmctld.log
SlurmdLogFile=$log/slurmd.log
MpiDefault=none
ProctrackType=$track
TaskPlugin=$plugin
PropagateResourceLimits=NONE
ReturnToService=2
KillWait=5
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,batch_sched_delay=1,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=1024
MaxArraySize=1001
MinJobAge=300
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
$gather
JobCompType=jobcomp/filetxt
JobCompLoc=$log/jobcomp.txt
AccountingStorageType=accounting_storage/none
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
    echo "NodeName=$host Name=gpu File=/dev/zero" >$etc/gres.conf.new # to be counted and named, not to be used
    local changed=1 file
    for file in slurm.conf cgroup.conf gres.conf; do
        cmp -s $etc/$file.new $etc/$file || changed=0
        mv $etc/$file.new $etc/$file
    done
    return $changed
}

start_munge() {
    is_alive /run/munge/munged.pid && return
    chown -R munge:munge /run/munge /var/lib/munge /var/log/munge /etc/munge
    chmod 755 /run/munge && chmod 711 /var/lib/munge && chmod 700 /var/log/munge /etc/munge
    [ -s /etc/munge/munge.key ] || head -c 1024 /dev/urandom >/etc/munge/munge.key
    chown munge:munge /etc/munge/munge.key && chmod 400 /etc/munge/munge.key
    rm -f /run/munge/munged.pid
    setpriv --reuid munge --regid munge --clear-groups /usr/sbin/munged
    for _ in $(seq 50); do
        munge -n 2>/dev/null | unmunge >/dev/null 2>&1 && return
        sleep 0.1
    done
    echo "munge does not answer" >&2 && return 1
}

up() {
    if [ -e $etc/slurm.conf ] && ! grep -qx ClusterName=test $etc/slurm.conf; then
        echo "$etc/slurm.conf is of another Slurm, which the tests would take down" >&2 && return 1
    fi
    need_packages slurmctld slurmd slurm-client munge
    mkdir -p $etc $log $spool/{ctld,d} /run/munge /var/lib/munge /var/log/munge
    if write_configuration; then # some settings are read only at the start
        stop /run/slurmd.pid
        stop /run/slurmctld.pid
    fi
    start_munge
    is_alive /run/slurmctld.pid || slurmctld </dev/null >/dev/null 2>&1
    is_alive /run/slurmd.pid || slurmd </dev/null >/dev/null 2>&1
    for _ in $(seq 100); do
        case $(sinfo -h -o %T 2>/dev/null) in
        idle | mixed | allocated) sinfo -N -o '%N %T %c CPUs %m MB' && return ;;
        down* | drained*) scontrol update nodename="$(hostname -s)" state=resume || true ;;
        esac
        sleep 0.2
    done
    tail -20 $log/*.log >&2
    return 1
}

down() {
    if is_alive /run/slurmctld.pid; then timeout 10 scancel --user=root 2>/dev/null || true; fi
    for daemon in "${daemons[@]}"; do stop "$daemon"; done
}

away() {
    stop /run/slurmd.pid
    scontrol update nodename="$(hostname -s)" state=down reason=test
}

case ${1:-} in
up | down | away) "$1" ;;
*) echo "usage: slurm.sh up | down | away" >&2 && exit 2 ;;
esac
