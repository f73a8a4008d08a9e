#!/bin/sh
# Runs a program of an unpacked root filesystem with that tree's own libraries, so that the machine need not have
# it: guest-program.sh ROOT PROGRAM NAME [ARGUMENT...]. The program is called by the name; it must not be a link.
set -eu
root=$1
program=$2
name=$3
shift 3
loader=$(find "$root/usr/lib64" "$root/usr/lib" -maxdepth 1 -name 'ld-linux-*.so.*' | head -n 1)
libraries=$(dirname "$(find "$root/usr/lib" -maxdepth 2 -name libc.so.6 | head -n 1)")
exec "$loader" --library-path "$libraries" --argv0 "$name" "$root$program" "$@"
