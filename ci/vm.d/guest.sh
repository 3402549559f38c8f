# Shared by the groups of cases; sourced inside the virtual machine, never run. `nvmf` is the program under test, /mnt the work
# folder (uncached, for the program and this), /tmp a tmpfs for everything else.
source /mnt/ci/lib.sh
cd /tmp
ulimit -l unlimited -n 65536
# Nothing loads over 9p in the middle of a case.
mkdir -p /tmp/bin && cp /mnt/bin/* /tmp/bin/
PATH="/tmp/bin:$PATH"
export NVMF_LOG=${NVMF_LOG:-info}
hostnqn=nqn.2014-08.org.nvmexpress:uuid:00000000-0000-4000-8000-000000000001
hostid=00000000-0000-4000-8000-000000000001
export NVMF_HOSTNQN=$hostnqn NVMF_HOSTID=$hostid
# How many times longer everything may take here.
slow=$(sed -n 's/.*\<vm\.slow=\([0-9]*\).*/\1/p' /proc/cmdline)

# Options of our host, whose own patience is meant for real machines.
patient=(--connect-timeout "$((5 * slow))" --kato "$((15 * slow))" --command-timeout "$((30 * slow))")

# until_ SECONDS COMMAND...: waits for something to become true.
until_() {
    local end=$((SECONDS + $1 * slow)); shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || { echo "still not so: $*"; return 1; }
        sleep 0.2
    done
}
# check NAME COMMAND...: a case with a limit of its own ($limit seconds, 60 unless set), which shows what the program and the
# kernel said when it fails. Runs in this shell, so that functions can set variables.
check() {
    local name=$1; shift
    case_ "$name" checked "$@"
}
checked() {
    local status=0 watch
    (sleep "$((${limit:-60} * slow))"; echo "-- the time is up"; kill_children $$) & watch=$!
    "$@" || status=$?
    kill "$watch" 2>/dev/null && wait "$watch" 2>/dev/null || true
    [ "$status" -eq 0 ] || { echo "-- status $status"; tail -n 15 /tmp/serve.err 2>/dev/null; dmesg | tail -n 10; return "$status"; }
}
# Everything below a process, except the daemon and who asks.
kill_children() {
    local pid
    for pid in $(cat "/proc/$1/task/$1/children"); do
        [ "$pid" = "$(cat /tmp/serve.pid 2>/dev/null)" ] || [ "$pid" = "$BASHPID" ] && continue
        kill_children "$pid"
        kill -KILL "$pid"
    done
}

# --- The program under test as controller.
server=
# serve ARGS...: starts the daemon and waits until it is ready; $server is its process.
serve() {
    nvmf serve --poll block "$@" >/tmp/serve.out 2>>/tmp/serve.err &
    server=$!
    echo "$server" >/tmp/serve.pid
    until_ 20 grep -q '^ready' /tmp/serve.out || { cat /tmp/serve.err; return 1; }
}
stop_serving() {
    local status=0 pid=$server
    kill -TERM "$pid" && wait "$pid" || status=$?
    server=
    return "$status"
}

# --- The kernel as host.
# kernel_connect TRANSPORT ADDR PORT NQN OPTIONS...: sets $ctrl (nvme0) and $disk (/dev/nvme0n1).
kernel_connect() {
    local trtype=$1 addr=$2 port=$3 nqn=$4; shift 4
    modprobe "nvme-$trtype"
    nvme connect -t "$trtype" -a "$addr" -s "$port" -n "$nqn" -q "$hostnqn" -I "$hostid" -k "$((10 * slow))" "$@" || return
    find_disk "$nqn"
}
find_disk() {
    local path
    ctrl= disk=
    for path in /sys/class/nvme/nvme*; do
        [ "$(cat "$path/subsysnqn" 2>/dev/null)" = "$1" ] && ctrl=$(basename "$path")
    done
    [ -n "$ctrl" ] || { echo "no controller of $1"; return 1; }
    # With native multipath the disk is named by the subsystem's instance, which may be another number.
    local subsystem
    subsystem=$(basename "$(dirname "$(ls -d /sys/class/nvme-subsystem/nvme-subsys*/"$ctrl")")")
    disk=/dev/nvme${subsystem#nvme-subsys}n1
    until_ 20 test -b "$disk"
}
kernel_disconnect() { nvme disconnect -n "$1" | tee /dev/stderr | grep -q 'disconnected [1-9]'; }
kernel_state() { cat "/sys/class/nvme/$ctrl/state"; }
live() { [ "$(kernel_state)" = live ]; }

# --- The kernel as controller, through configfs.
nvmet=/sys/kernel/config/nvmet
target_subsystem() { # target_subsystem NQN DEVICE...: namespaces are numbered from 1
    local nsid=0 nqn=$1 device; shift
    modprobe nvmet
    [ -d "$nvmet" ] || mount -t configfs configfs /sys/kernel/config
    mkdir "$nvmet/subsystems/$nqn"
    echo 1 >"$nvmet/subsystems/$nqn/attr_allow_any_host"
    for device; do
        nsid=$((nsid + 1))
        mkdir "$nvmet/subsystems/$nqn/namespaces/$nsid"
        echo -n "$device" >"$nvmet/subsystems/$nqn/namespaces/$nsid/device_path"
        echo 1 >"$nvmet/subsystems/$nqn/namespaces/$nsid/enable"
    done
}
target_port() { # target_port ID tcp|rdma ADDR PORT
    modprobe "nvmet-$2"
    mkdir "$nvmet/ports/$1"
    echo ipv4 >"$nvmet/ports/$1/addr_adrfam"
    echo "$2" >"$nvmet/ports/$1/addr_trtype"
    echo "$3" >"$nvmet/ports/$1/addr_traddr"
    echo "$4" >"$nvmet/ports/$1/addr_trsvcid"
}
# Linking the first subsystem is what makes a port listen, unlinking the last one what closes it and its connections.
target_link() { ln -s "$nvmet/subsystems/$2" "$nvmet/ports/$1/subsystems/$2"; }
target_unlink() { rm "$nvmet/ports/$1/subsystems/$2"; }
target_remove() { # target_remove NQN: with its namespaces
    local path
    for path in "$nvmet"/ports/*/subsystems/"$1"; do [ ! -e "$path" ] || rm "$path"; done
    for path in "$nvmet/subsystems/$1"/namespaces/*; do echo 0 >"$path/enable"; rmdir "$path"; done
    rmdir "$nvmet/subsystems/$1"
}
ram_disks() { modprobe brd rd_nr="$1" rd_size="$(($2 * 1024))"; } # ram_disks COUNT MIB: /dev/ram0 ...

# --- Data. Emulation is slow: comparing costs less than a good checksum.
# What a device holds, past the page cache: that knows nothing of what a target has written since to the device it holds open.
direct() { dd if="$1" bs=1M iflag=direct status=none; }
same() { cmp <(direct "$1") "$2"; } # same DEVICE FILE: the device was read anew and holds what the file holds
# tree DIR: files of every kind that a file system makes blocks of: many small, a large one of noise, a sparse one, links.
tree() {
    mkdir -p "$1/deep/er"
    cp -r /mnt/ci "$1/"
    local number
    for number in $(seq 100); do echo "$number $number" >"$1/deep/$number"; done
    head -c 12000000 /dev/urandom >"$1/deep/noise"
    truncate -s 8M "$1/deep/er/sparse"
    ln -s ../ci/lib.sh "$1/deep/link"
}
same_tree() { diff -r --no-dereference --exclude=lost+found "$1" "$2"; }

# --- RDMA devices without hardware: veth0 has 10.99.0.1, its peer 10.99.0.2 is in the same guest.
soft_rdma() { # soft_rdma siw|rxe: makes the device siw0 or rxe0
    ip link show veth0 >/dev/null 2>&1 || {
        ip link add veth0 type veth peer name veth1
        ip addr add 10.99.0.1/24 dev veth0
        ip link set veth0 up
        ip link set veth1 up
    }
    local module=siw
    [ "$1" = siw ] || module=rdma_rxe
    modprobe "$module" && modprobe rdma_ucm && modprobe ib_uverbs && rdma link add "${1}0" type "$1" netdev veth0
}
