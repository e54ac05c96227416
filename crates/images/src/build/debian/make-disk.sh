#!/bin/sh
# TOP FRONT BYTES MKE2FS ARGUMENTS…: run as the owner of the new root's files, who may write below TOP only.
# TOP holds the new root; afterwards TOP/root does, and TOP/disk.raw is the disk: FRONT, then the file system.
set -eu
top=$1 front=$2 bytes=$3
shift 3
cd "$top"
mkdir -m 0755 .root
for entry in *; do mv "$entry" .root/; done
mv .root root
cat "$front" >disk.raw
truncate -s "$bytes" disk.raw
exec "$@" -d root disk.raw "$(((bytes - $(stat -c %s "$front")) / 1024))k"
