#!/bin/sh
# An external runner: its workload has users, host name and System V memory of its own.
#
# The contract is docs/reference/external.md. This one does the least that is possible: it changes what it stands in,
# and then becomes the command. So signals, output and the end are those of the command, and nothing is left to do.
set -eu

# Its own arguments end at `--`; there are none here but a greeting for the log.
while [ "$1" != "--" ]; do
	echo "apart: $1"
	shift
done
shift

exec unshare --user --map-current-user --uts --ipc -- "$@"
