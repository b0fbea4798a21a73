#!/usr/bin/env bash
# A real SLURM cluster on this machine, for tests: one controller, two nodes, one of them with a GPU that is only counted.
#   slurm_cluster.sh install        Debian's packages (and the ssh server of tests/remotes.py); no service is started
#   slurm_cluster.sh up DIR         start the daemons; DIR holds their state and logs
#   slurm_cluster.sh kill DIR NODE  a power cut: the node's daemon and everything that runs on the node die at once
#   slurm_cluster.sh start DIR NODE power is back
#   slurm_cluster.sh down DIR       stop everything (by the recorded process ids only)
# Root only. Outside DIR two links are written, /etc/slurm/{slurm,gres}.conf: the executor plugin takes SLURM_CONF out of
# the environment of its jobs, so the configuration must lie where SLURM looks by default. `down` removes them, because
# every start of Snakemake waits ten seconds for a configured controller that does not answer.
# No accounting database and no cgroups: memory and GPUs are scheduled, not enforced.
set -euo pipefail

action=${1:?install, up, kill, start or down}
folder=${2:+$(realpath -m "$2")}
host=$(hostname -s)
nodes=(n1 n2)

poll() { # SECONDS COMMAND...: until it succeeds
  local until=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < until)) || { echo "gave up waiting for: $*" >&2; return 1; }
    sleep 0.2
  done
}

stop() { # NAME SIGNAL: end a daemon that this script has started
  local file=$folder/run/$1.pid pid
  [[ -s $file ]] || return 0
  pid=$(<"$file")
  kill "-$2" "$pid" 2>/dev/null || true
  for _ in {1..100}; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  rm -f "$file"
}

start_node() { # A node is a process namespace: when its first process is killed, the kernel ends all others in it.
  unshare --pid --fork --kill-child --mount-proc slurmd -D -N "$1" >>"$folder/log/$1.out" 2>&1 &
  echo $! >"$folder/run/$1.pid"
}

both_idle() { [[ $(sinfo --noheader --Node --partition cpu --format %T | sort -u) == idle ]]; }

write_configuration() {
  cat >"$folder/slurm.conf" <<CONF
ClusterName=hccflow
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A job that lost its node waits until its credential has expired before it starts again: 2 minutes, unless told.
AuthInfo=cred_expire=10
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd-%n.inner.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=2
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
GresTypes=gpu
MpiDefault=none
# Finished jobs stay visible to squeue, which stands in for an accounting database.
MinJobAge=3600
# A silent node is given up after 10 s, and its jobs go back to the queue.
SlurmdTimeout=10
JobRequeue=1
ReturnToService=2
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=16901 CPUs=4 RealMemory=16000 Gres=gpu:fake:1
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=16902 CPUs=4 RealMemory=16000
PartitionName=cpu Nodes=n1,n2 Default=YES MaxTime=UNLIMITED
PartitionName=gpu Nodes=n1 MaxTime=UNLIMITED
CONF
  # With a device file SLURM also sets CUDA_VISIBLE_DEVICES; /dev/null stands in for the device.
  echo "NodeName=n1 Name=gpu Type=fake File=/dev/null" >"$folder/gres.conf"
}

case $action in
  install)
    missing=()
    for package in slurm-wlm munge openssh-server; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
    if ((${#missing[@]})); then
      export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
      apt-get -qq -o DPkg::Lock::Timeout=600 update
      apt-get -qq -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "${missing[@]}" >/dev/null
    fi
    ;;
  up)
    unset SLURM_CONF
    for name in slurm gres; do
      if [[ -e /etc/slurm/$name.conf && ! -L /etc/slurm/$name.conf ]]; then
        echo "/etc/slurm/$name.conf belongs to somebody else's cluster" >&2
        exit 1
      fi
    done
    mkdir -p "$folder"/{run,log,state,munge,spool/n1,spool/n2}
    chmod 755 "$folder"
    chmod 700 "$folder/munge"
    write_configuration
    ln -sfn "$folder/slurm.conf" /etc/slurm/slurm.conf
    ln -sfn "$folder/gres.conf" /etc/slurm/gres.conf
    if ! munge --no-input >/dev/null 2>&1; then
      [[ -s $folder/munge/key ]] || head -c 1024 /dev/urandom >"$folder/munge/key"
      chmod 600 "$folder/munge/key"
      install -d -o root -m 755 /run/munge
      munged --force --key-file="$folder/munge/key" --pid-file="$folder/run/munged.pid" \
        --log-file="$folder/log/munged.log" --seed-file="$folder/munge/seed" 2>>"$folder/log/munged.out"
      poll 15 munge --no-input
    fi
    slurmctld
    poll 15 scontrol ping
    for node in "${nodes[@]}"; do start_node "$node"; done
    poll 30 both_idle
    ;;
  kill) stop "${3:?NODE}" KILL ;;
  start) start_node "${3:?NODE}" ;;
  down)
    for node in "${nodes[@]}"; do stop "$node" KILL; done
    stop slurmctld TERM
    stop munged TERM
    for name in slurm gres; do
      [[ $(readlink "/etc/slurm/$name.conf") == "$folder/"* ]] && rm "/etc/slurm/$name.conf"
    done
    ;;
  *) echo "unknown action $action" >&2; exit 2 ;;
esac
