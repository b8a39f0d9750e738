#!/bin/sh
# shut_in.sh STATE PYTHON PACKAGES REPOSITORY COMMAND...: a command as systemd runs that of the unit, as far as
# that can be had without systemd, for its test. To be run as root, in a mount namespace of its own.
#
# STATE becomes /var/lib/ptyshipper, the one place where the command can write that lasts; the others are an
# interpreter's prefix, its packages and this repository, which may be where the unit lets nobody look.
set -eu

state=$1 python=$2 packages=$3 repository=$4
shift 4
user=$(stat --format=%u "$state")

mount --make-rprivate /
mount --bind "$python" /usr/local
mount --bind "$packages" /usr/local/lib/python3*/site-packages
mount --bind "$repository" /mnt
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/ptyshipper
mount --bind "$state" /var/lib/ptyshipper
# PrivateTmp, ProtectHome.
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /var/tmp
mount -t tmpfs -o mode=000 tmpfs /root
mount -t tmpfs -o mode=000 tmpfs /home

# ProtectSystem=strict, but for what it leaves out. A mount below another one is nobody's to see.
while read -r _ _ _ _ place _; do
    case $place in
        /proc* | /sys* | /dev* | /tmp | /var/tmp | /var/lib/ptyshipper) ;;
        *) mount -o remount,bind,ro "$place" 2>/dev/null || ! [ -w "$place" ] || echo "$place" >&2 ;;
    esac
done </proc/self/mountinfo

cd /
umask 0077 # UMask
# User, CapabilityBoundingSet, AmbientCapabilities, NoNewPrivileges.
exec setpriv --reuid="$user" --regid="$user" --clear-groups --no-new-privs \
    --inh-caps=-all --ambient-caps=-all --bounding-set=-all -- "$@"
