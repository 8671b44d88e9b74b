#!/usr/bin/env bash
# A one-node Grid Engine for the tests, without systemd, as root on Debian: sge.sh up | down. `down` leaves nothing but the
# packages. It is a cell of its own with ports of its own, and leaves any other Grid Engine of the machine alone.
#
# As sites have it: queue all.q whose shell is csh, parallel environment smp, memory asked for by h_vmem, which is counted
# on the node and is a task's limit (ulimit -v). As the tests want it: jobs of root.
set -euo pipefail
. "$(dirname "$0")/packages.sh"
. "$(dirname "$0")/sge.env"
common=$SGE_ROOT/$SGE_CELL/common
spool=/var/spool/gridengine/$SGE_CELL
host=$(hostname)

is_alive() { # by the number in the daemon's own file, and only if it is one
    [ -s "$1" ] && [ "$(cat "/proc/$(cat "$1")/comm" 2>/dev/null)" = "$2" ]
}

stop() { # the daemon of a file, by a signal, and waits for its end
    if is_alive "$1" "$2"; then
        local pid
        pid=$(cat "$1")
        kill "$3" "$pid"
        for _ in $(seq 100); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.1
        done
    fi
    rm -f "$1"
}

write_cell() {
    mkdir -p "$common" "$spool"/{qmaster/job_scripts,execd,spooldb}
    cat >"$common/bootstrap" <<CONF
admin_user              none
default_domain          none
ignore_fqdn             false
spooling_method         berkeleydb
spooling_lib            libspoolb
spooling_params         $spool/spooldb
binary_path             /usr/lib/gridengine
qmaster_spool_dir       $spool/qmaster
security_mode           none
listener_threads        2
worker_threads          2
scheduler_threads       1
CONF
    echo "$host" >"$common/act_qmaster"
    # 127.0.0.1 may have the name localhost first, and a daemon believes nobody who calls itself otherwise.
    echo "$host localhost" >"$common/host_aliases"
    /usr/share/gridengine/scripts/init_cluster "$SGE_ROOT" "$SGE_CELL" "$spool/spooldb" root
}

changed() { # prints an object of the configuration with other values: changed NAME=VALUE ... <OBJECT
    local pair edits=()
    for pair in "$@"; do edits+=(-e "s|^${pair%%=*}[[:space:]].*|${pair%%=*} ${pair#*=}|"); done
    sed "${edits[@]}"
}

configure() {
    local new=$spool/global memory # a configuration is known by the name of its file
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)M
    qconf -sconf | changed min_uid=0 min_gid=0 execd_spool_dir="$spool/execd" load_report_time=00:00:05 >"$new"
    qconf -Mconf "$new"
    qconf -ssconf | changed schedule_interval=0:0:1 flush_submit_sec=1 flush_finish_sec=1 job_load_adjustments=NONE >"$new"
    qconf -Msconf "$new"
    qconf -sc | changed 'h_vmem=h_vmem MEMORY <= YES YES 1G 0' >"$new"
    qconf -Mc "$new"
    for pair in "hostname $host" "load_scaling NONE" "complex_values h_vmem=$memory" "user_lists NONE" "xuser_lists NONE" \
        "projects NONE" "xprojects NONE" "usage_scaling NONE" "report_variables NONE"; do echo "$pair"; done >"$new"
    qconf -Ae "$new"
    qconf -as "$host"
    qconf -Ap /usr/share/gridengine/util/resources/pe/smp
    qconf -sq | changed qname=all.q hostlist="$host" slots="$(nproc)" pe_list=smp shell=/bin/csh load_thresholds=NONE >"$new"
    qconf -Aq "$new"
}

up() {
    need_packages s-nail gridengine-master gridengine-exec gridengine-client # s-nail: Grid Engine wants a mailer
    down
    write_cell >/dev/null
    sge_qmaster
    for _ in $(seq 50); do
        qconf -sm >/dev/null 2>&1 && break
        sleep 0.2
    done
    configure >/dev/null
    SGE_EXECD_PIDFILE=$spool/execd.pid sge_execd
    for _ in $(seq 100); do
        case $(qstat -f 2>/dev/null | awk '/^all.q@/ {print $4, $6}') in
        *[0-9]*\ ) qhost && return ;;
        esac
        sleep 0.2
    done
    tail -n 20 "$spool"/qmaster/messages "$spool"/execd/*/messages >&2
    return 1
}

down() {
    if is_alive "$spool/qmaster/qmaster.pid" sge_qmaster; then timeout 10 qdel -u root >/dev/null 2>&1 || true; fi
    stop "$spool/execd.pid" sge_execd -TERM
    stop "$spool/qmaster/qmaster.pid" sge_qmaster -KILL # it takes 8 s to save what is thrown away here
    rm -rf "$spool" "${SGE_ROOT:?}/${SGE_CELL:?}"
}

case ${1:-} in
up | down) "$1" ;;
*) echo "usage: sge.sh up | down" >&2 && exit 2 ;;
esac
