# What the jobs of a guest are made of: an NFS server and its mounts, and block devices that lose what was written.

# There is nobody else who would make the nodes of mapped devices.
export DM_DISABLE_UDEV=1

# An ext4 file system on this device, mounted in /export, and everything that an NFS server needs but nfsd itself.
# GRACE is for how many seconds a server that starts waits for its old clients; 90 would be the kernel's own.
nfs_prepare() { # DEVICE GRACE
    modprobe -a ext4 nfsd nfs
    mkfs.ext4 -q -F "$1"
    mkdir -p /export /run/rpc_pipefs /var/lib/nfs/nfsdcld
    mount "$1" /export
    mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd
    mountpoint -q /run/rpc_pipefs || mount -t rpc_pipefs rpc_pipefs /run/rpc_pipefs
    mkdir -p /export/share
    pidof rpcbind >/dev/null || rpcbind
    pidof rpc.statd >/dev/null || rpc.statd --no-notify
    # It keeps the clients' names, so that those may go on after a restart and nobody else.
    pidof nfsdcld >/dev/null || nfsdcld
    echo "$2" >/proc/fs/nfsd/nfsv4leasetime
    echo "$2" >/proc/fs/nfsd/nfsv4gracetime
    nfs_export
    rpc.mountd
}

nfs_export() { exportfs -o rw,no_root_squash,no_subtree_check,fsid=0 127.0.0.1:/export; }

nfs_start() {
    rpc.nfsd --grace-time "$(cat /proc/fs/nfsd/nfsv4gracetime)" 4
}

nfs_stop() { rpc.nfsd 0; }

# Two mounts that share no cache see each other as two hosts would.
nfs_mount() { # PLACE VERSION [OPTION,...]
    local from=/share
    mkdir -p "$1"
    # Only in version 4 paths begin at what is exported as the root.
    [ "$2" != 3 ] || from=/export/share
    mount -t nfs -o "vers=$2,hard,nosharecache${3:+,$3}" "127.0.0.1:$from" "$1"
}

# The program as a host of its own: a cache directory for each. $repo and $key stand for another repository and key.
holdall_of() { # HOST ARGUMENT...
    local host=$1
    shift
    HOLDALL_REPOSITORY=${repo:-/mnt/$host/repo} HOLDALL_KEY_FILE=${key:-/key} XDG_CACHE_HOME=/var/cache/of-$host \
        /usr/local/bin/holdall --config /dev/null "$@"
}

# Whether the newest point of file:NAME is what /host/in/NAME holds.
comes_back() { # HOST NAME
    holdall_of "$1" export "file:$2" - >/tmp/export.$1.$2 2>/tmp/export.$1.$2.err || {
        echo "export of $2 on $1 ended with $?: $(cat /tmp/export.$1.$2.err)" >&2
        return 1
    }
    cmp /tmp/export.$1.$2 "/host/in/$2" >&2 || return 1
    rm -f /tmp/export.$1.$2 /tmp/export.$1.$2.err
}

seconds() { cut -d' ' -f1 /proc/uptime; }

# Another moment each time.
a_while() { sleep $(($(od -An -N1 -tu1 /dev/urandom) % 16)); }

# Runs a command again and again until it was running when /run/disturbed appeared. Tells of each run its name, its
# number, when it began and ended, and its exit code. The command is a line of shell which knows that number as $n.
again_and_again() { # NAME COMMAND
    local begun code
    n=0
    until [ -e /run/disturbed ]; do
        n=$((n + 1)) code=0
        begun=$(seconds)
        one_run "$2" >"/run/said.$1.$n" 2>&1 || code=$?
        echo "$1 $n $begun $(seconds) $code"
        sed "s/^/$1 $n: /" "/run/said.$1.$n" >&2
    done
}

one_run() { eval "$1"; }

# The export again, with an empty file system: whatever was open before is gone for good.
nfs_replace() { # DEVICE
    nfs_stop
    exportfs -ua
    umount /export
    mkfs.ext4 -q -F "$1"
    mount "$1" /export
    mkdir /export/share
    nfs_export
    nfs_start
}

# An ext4 file system on a disk that can be told to fail.
disk_prepare() { # DEVICE
    modprobe -a ext4 dm-flakey
    mkfs.ext4 -q -F "$1"
    echo "$1" >/run/disk
    dmsetup create flaky --table "$(disk_table '86400 0 0')"
}

# For how many seconds it works and fails in turns, how many words follow, and those: what fails, if not everything.
disk_table() { # 'UP DOWN COUNT [FEATURE]'
    local disk
    disk=$(cat /run/disk)
    echo "0 $(blockdev --getsz "$disk") flakey $disk 0 $1"
}

# From now on the disk does this. What is on its way is neither waited for nor written out first.
disk_does() { # 'UP DOWN COUNT [FEATURE]'
    dmsetup suspend --noflush --nolockfs flaky
    dmsetup load flaky --table "$(disk_table "$1")"
    dmsetup resume flaky
}

# The disk seen by three hosts, which are one here.
disk_mount() {
    mkdir -p /mnt/a /mnt/b /mnt/c
    mount /dev/mapper/flaky /mnt/a
    mount --bind /mnt/a /mnt/b
    mount --bind /mnt/a /mnt/c
}

# As an administrator would: the file system, which may have ended its journal, is unmounted and looked through.
disk_mends() {
    umount /mnt/c /mnt/b /mnt/a
    e2fsck -fy /dev/mapper/flaky || test $? -le 2
}

# Nothing is read from memory from now on.
disk_forgets() { echo 3 >/proc/sys/vm/drop_caches; }
