#!/bin/bash
# Stands for sbatch in scale.py: runs the stubs of a job before it answers. Nextflow's own wrapper (.command.run) takes
# some 0.3 s more a task; here are its stages without the measuring, with the files that it leaves. SCALE_WRAPPER=whole
# runs the wrapper itself.
set -euo pipefail
trace=(nextflow.trace/v2 realtime=1000 %cpu=100 cpu_model=none rchar=1 wchar=1 syscr=1 syscw=1 read_bytes=0 write_bytes=0
    %mem=1 vmem=1 rss=1 peak_vmem=1 peak_rss=1 vol_ctxt=1 inv_ctxt=1)

task() (
    cd "$1"
    export NXF_TASK_WORKDIR=$1 # .command.sh goes there to ask a process for its versions
    : > .command.begin > .command.log
    source ./.command.run nxf_stage
    status=0
    /bin/bash -euo pipefail .command.sh > .command.out 2> .command.err || status=$?
    printf '%s\n' "${trace[@]}" > .command.trace
    printf %s "$status" > .exitcode
)

printf '\n' >> "$SCALE_SUBMISSIONS"
tasks=$(sed -n 's/^###   - \(\/.*\)/\1/p' .command.run)
if [[ ${SCALE_WRAPPER:-} == whole ]]; then
    n=$(wc -w <<< "$tasks")
    for ((i = 0; i < (n ? n : 1); i++)); do
        SLURM_ARRAY_TASK_ID=$i bash .command.run &> "$([[ $n == 0 ]] && echo .command.log || echo /dev/null)" || true
    done
elif [[ $tasks ]]; then
    for folder in $tasks; do
        task "$folder"
    done
    : > .command.begin > .command.out > .command.err > .command.trace
    printf 0 > .exitcode
else
    task "$PWD"
fi
echo "Submitted batch job $(wc -l < "$SCALE_SUBMISSIONS")"
