#!/bin/sh
# Runs once an instance, after all of user-data: the ssh user exists and accepts the keys, whatever was configured.
user=@USER@
keys=@KEYS@

field() { awk -F: -v u="$user" -v n="$1" '$1 == u { print $n }' /etc/passwd; }

if [ -z "$(field 1)" ]; then
    shell=/bin/sh
    [ -x /bin/bash ] && shell=/bin/bash
    useradd -m -s "$shell" "$user" 2>/dev/null || adduser -D -s "$shell" "$user" || exit 1
    if [ -d /etc/sudoers.d ]; then
        printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$user" >/etc/sudoers.d/90-atoll
        chmod 0440 /etc/sudoers.d/90-atoll
    elif [ -d /etc/doas.d ]; then
        printf 'permit nopass %s\n' "$user" >/etc/doas.d/90-atoll.conf
    fi
fi

home=$(field 6)
file=$home/.ssh/authorized_keys
mkdir -p "$home/.ssh"
touch "$file"
printf '%s' "$keys" | while IFS= read -r key; do
    grep -qxF -- "$key" "$file" || printf '%s\n' "$key" >>"$file"
done
chmod 0700 "$home/.ssh"
chmod 0600 "$file"
chown -R "$(field 3):$(field 4)" "$home/.ssh"
if command -v restorecon >/dev/null 2>&1; then restorecon -R "$home/.ssh"; fi
exit 0
