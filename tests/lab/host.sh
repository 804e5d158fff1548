#!/bin/sh
# Becomes one machine of the laboratory: an ssh server with a file system of its own where it matters.
#
#   host.sh NAME FOLDER ENVIRONMENT KEEP...
#
# NAME         its host name
# FOLDER       what the laboratory has prepared: hosts, home/, shared/, sshd_key
# ENVIRONMENT  virtual environment that it sees as ~/lad-rllib-env; what pip changes in it stays in this machine
# KEEP         folders to keep at their places although they lie in one that is hidden below
#
# Runs as root in new network, mount, process, host name and IPC namespaces: all that it mounts ends with it.
set -eu
name=$1 folder=$2 environment=$3
shift 3

hostname "$name"
mkdir "$folder/$name"
mount --rbind / "$folder/$name" # the file system as it was, as '.', whatever is hidden below
cd "$folder/$name"

# Folders that machines do not share. They live in memory, so that nothing has to be cleaned up.
for hidden in /tmp /home /mnt /run /dev/shm; do
    mount -t tmpfs -o mode=1777 lab "$hidden"
done
for kept in "$@"; do
    [ -e "$kept" ] || { mkdir -p "$kept" && mount --rbind ".$kept" "$kept"; }
done

# Layers in memory over folders that it does share.
for layered in /etc "$environment"; do
    layer=/run/layers$layered
    mkdir -p "$layer/upper" "$layer/work"
    mount -t overlay -o "lowerdir=$layered,upperdir=$layer/upper,workdir=$layer/work" lab "$layered"
done

# Its user is another name of root: the ssh server can let in root without the system's passwords.
user=ubuntu home=/home/ubuntu
printf '%s:*:0:0::%s:/bin/bash\n' "$user" "$home" | cat - ./etc/passwd > /etc/passwd
rm -f /etc/resolv.conf /etc/hosts
cp ".$folder/hosts" /etc/hosts
echo 'nameserver 127.0.0.1' > /etc/resolv.conf # nobody answers there, at once; a resolver out of reach costs seconds

cp -r ".$folder/home" "$home"
chmod -R go= "$home"
ln -s "$environment" "$home/lad-rllib-env"
mkdir /mnt/shared /run/sshd
mount --bind ".$folder/shared" /mnt/shared
cp ".$folder/sshd_key" /run/sshd_key
chmod 600 /run/sshd_key

# Nothing of the caller's environment comes in.
cd /
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    "$(command -v sshd)" -D -f /dev/null -h /run/sshd_key -o UsePAM=no -o StrictModes=no -o PidFile=none
