#!/bin/sh
# Install what tests/cluster needs from Debian's packages. Where that is not possible, say why and exit with 77.
set -u
skip() {
    echo "make test-cluster: skipped: $1" >&2
    exit 77
}
PATH="$PATH:/usr/sbin:/sbin"
[ "$(id -u)" = 0 ] || skip "Slurm's daemons need root"
missing=
for command in munged mariadbd mariadb-install-db slurmdbd slurmctld slurmd srun; do
    command -v "$command" >/dev/null || missing=yes
done
[ "$missing" ] || exit 0
command -v apt-get >/dev/null || skip "Slurm is not installed, and there is no apt-get"
# The packages must not start services of their own: RUNLEVEL=1 says so where there is no systemd.
export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
packages="munge mariadb-server slurmdbd slurm-wlm"
log=$(mktemp)
# shellcheck disable=SC2086
{ apt-get update && apt-get install --yes --no-install-recommends $packages; } >"$log" 2>&1 ||
    skip "apt-get cannot install $packages: $(tail -n 3 "$log")"
rm "$log"
