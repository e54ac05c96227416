#!/bin/sh
# Run by mmdebstrap outside the new root, whose path is the first argument, once all packages are installed.
set -eu
root=$1

chroot "$root" systemctl enable systemd-networkd.service systemd-networkd-wait-online.service
# Nothing of its own accord on a machine that others measure or stop at any time.
chroot "$root" systemctl disable apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer
# Every clone makes its own keys on its first boot.
rm -f "$root"/etc/ssh/ssh_host_*
echo debian >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"

mkdir -p "$root/boot/grub"
chroot "$root" grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o /boot/grub/core.img \
    biosdisk part_msdos ext2 normal linux search search_fs_uuid echo test

# Only cloud-init before 23 has to be told that a seed at a URL needs the network.
version=$(chroot "$root" dpkg-query -W -f '${Version}' cloud-init)
if chroot "$root" dpkg --compare-versions "$version" ge 23; then
    rm -r "$root/etc/systemd/system/cloud-init-local.service.d" "$root/usr/local/lib/nocloud-seed-url"
fi
