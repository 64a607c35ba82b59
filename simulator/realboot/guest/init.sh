#!/bin/busybox sh
# Process 1 on the ext4 root. Brings up the network, opens the state partition
# for the agent's user, and then obeys the host line by line over the second serial port.
export PATH=/bin:/usr/local/bin
mount -t securityfs securityfs /sys/kernel/security
mount -t tmpfs tmpfs /run
mount -t ext4 /dev/vda3 /var/lib/quorate

ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
hostname guest

# The agent runs as its own user in group root: the kernel lets that group read both logs, and IMA's
# tcb policy does not measure what other users than root read, so the agent's state is no evidence.
chown quorate /dev/tpmrm0 /var/lib/quorate
chmod 0700 /var/lib/quorate
mkdir -m 0700 /run/quorate
chown quorate /run/quorate

control=/dev/ttyS1
stty -F $control raw -echo 115200
exec 3<>$control
printf '\n#ready\n' >&3
while read -r id command <&3; do
  case "$command" in
  poweroff)
    killall quorate-agent 2>/dev/null
    while killall -0 quorate-agent 2>/dev/null; do sleep 0.1; done
    umount /var/lib/quorate
    sync
    poweroff -f
    ;;
  esac
  sh -c "$command" </dev/null >&3 2>&1
  printf '\n#done %s %s\n' "$id" $? >&3
done
