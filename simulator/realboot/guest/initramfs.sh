#!/bin/busybox sh
# First program of the guest: loads the drivers of the disk and the network and
# goes on from the ext4 root. IMA measures nothing on tmpfs, so nothing may run here that matters.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
for module in @MODULES@; do $b insmod "/modules/$module.ko"; done
$b mount -t ext4 -o ro /dev/vda2 /newroot || { echo "no root file system"; $b poweroff -f; }
$b mount --move /dev /newroot/dev
$b mount --move /proc /newroot/proc
$b mount --move /sys /newroot/sys
exec $b switch_root /newroot /sbin/init
