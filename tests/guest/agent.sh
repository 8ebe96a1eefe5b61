# Runs the jobs whose numbers come over the second serial line, all beside each other, and answers each with its exit
# code. A job is /host/jobs/NUMBER.sh; what it prints goes beside it.
# Open from the beginning: what comes while nobody has the line open is lost.
exec 3<>/dev/ttyS1
echo ready >&3
while read -r job <&3; do
    (
        sh "/host/jobs/$job.sh" >"/host/jobs/$job.out" 2>"/host/jobs/$job.err" 3>&-
        echo "$job $?" >&3
    ) &
done
