#!/bin/sh
# The first process of the virtual board: what systemd does elsewhere, as far as ssh needs it.
export PATH=/usr/sbin:/usr/bin LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /run/sshd
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
chmod 1777 /tmp /dev/shm
chown -R pi:pi /home/pi
while read -r module; do insmod "/board/$module" || echo "no $module"; done </board/modules
hostname virtual-board
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
/usr/sbin/sshd -D -e -f /board/sshd_config
echo "sshd ended"
poweroff -f
