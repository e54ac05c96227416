#!/bin/sh
# Runs before cloud-init looks for its seed. cloud-init before 23 takes `ds=nocloud;s=http://…` in the machine's serial
# number for a local data source and, having found it only once the network was up, does nothing with it: the mode it
# reads there cannot be overridden by the seed. Later ones see from the URL that it needs the network. Here the serial
# number that it reads is given the mode.
file=/sys/class/dmi/id/product_serial
[ -r "$file" ] || exit 0
serial=$(cat "$file")
case $serial in
*dsmode=*) ;;
'ds=nocloud;'*s=http*)
    printf 'ds=nocloud;dsmode=net;%s\n' "${serial#ds=nocloud;}" >/run/product_serial
    mount --bind /run/product_serial "$file"
    ;;
esac
exit 0
