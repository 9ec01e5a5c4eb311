#!/usr/bin/env bash
# The units of tools/systemd under a systemd that is the first process of a machine of its own (systemd-nspawn, with
# the /usr of this one, no network but its loopback): readiness, the sandbox, the watchdog, a kill, a stop, the socket
# that systemd holds, credentials, and what systemd-analyze says.
# Usage: sudo tools/systemd_boot.sh [BINARY]
source "$(dirname "$0")/lib.sh"

UNITS=$(cd "$(dirname "$0")/systemd" && pwd)
URL=http://127.0.0.1:3030
WATCHDOG_SECONDS=5
# TimeoutStopSec of the unit.
STOP_SECONDS=20
# In tenths, as --threshold wants it.
EXPOSURE_MAX=20

[ "$(id -u)" = 0 ] || skip "a machine of its own needs root"
for tool in systemd-nspawn systemd-analyze nsenter unshare curl openssl; do
    command -v "$tool" >/dev/null || skip "$tool is missing"
done
[ -x /usr/lib/systemd/systemd ] && [ -L /bin ] || skip "no systemd in /usr/lib, or /bin is not in /usr"
unshare -m mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null || skip "cgroup2 cannot be mounted"
unshare -m mount -t overlay -o lowerdir=/usr:/etc none /mnt 2>/dev/null || skip "overlayfs cannot be mounted"
if [ $# -gt 0 ]; then KYRODB=$(realpath "$1"); else build; fi
[ -x "$KYRODB" ] || fail "$KYRODB is no program"

make_work_dir
MACHINE=kyrodb-$$
TREE=$WORK/tree
DROP_IN=$TREE/etc/systemd/system/kyrodb.service.d/try.conf
NSPAWN="" LEADER=""
trap 'clean_up_machine' EXIT

clean_up_machine() {
    local status=$?
    if [ -n "$NSPAWN" ]; then
        [ $status = 0 ] || [ -z "$LEADER" ] || in_machine journalctl -u kyrodb -u kyrodb.socket -n 40 --no-pager >&2 || true
        # Ends the machine in order; the second word ends it at once.
        kill -TERM "$NSPAWN" 2>/dev/null || true
        for _ in $(seq 100); do kill -0 "$NSPAWN" 2>/dev/null || break; sleep 0.2; done
        kill -TERM "$NSPAWN" 2>/dev/null || true
        wait "$NSPAWN" 2>/dev/null || true
        # nspawn leaves an empty directory and its control groups.
        rmdir "/run/systemd/nspawn/propagate/$MACHINE" 2>/dev/null || true
        unshare -m bash -c "mount -t cgroup2 none /sys/fs/cgroup && find /sys/fs/cgroup/$MACHINE -depth -type d -exec rmdir {} +" || true
    fi
    clean_up
}

# ---- the machine

make_tree() {
    local dir
    mkdir -p "$TREE"/{usr,etc/kyrodb,etc/systemd/system,var,run,tmp,proc,sys,dev,root} "$WORK/usr/local/bin"
    for dir in bin sbin lib lib64; do [ ! -L "/$dir" ] || cp -P "/$dir" "$TREE/$dir"; done
    cp "$KYRODB" "$WORK/usr/local/bin/kyrodb"
    chmod 755 "$WORK" "$WORK/usr" "$WORK/usr/local" "$WORK/usr/local/bin" "$WORK/usr/local/bin/kyrodb"
    # No accounts of this machine but those that systemd and D-Bus want.
    grep -E '^(root|nobody|messagebus|systemd-[a-z]+):' /etc/passwd >"$TREE/etc/passwd"
    cp /etc/group /etc/nsswitch.conf /etc/os-release /etc/ld.so.cache "$TREE/etc/"
    echo '127.0.0.1 localhost' >"$TREE/etc/hosts"
    : >"$TREE/etc/machine-id"
    cp "$UNITS/kyrodb.service" "$UNITS/kyrodb.socket" "$TREE/etc/systemd/system/"
    printf 'shards = 1\nmemory = "512MiB"\n' >"$TREE/etc/kyrodb/kyrodb.toml"
}

boot() {
    local state
    # A control group of its own below the root: systemd-nspawn asks the systemd of this machine for one otherwise, and
    # there may be none. It cannot see how new the systemd in the tree is, as /usr is mounted later.
    unshare -m --propagation private bash -c '
        set -e
        mount -t cgroup2 none /sys/fs/cgroup
        mkdir "/sys/fs/cgroup/$1"
        echo $$ >"/sys/fs/cgroup/$1/cgroup.procs"
        export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
        exec systemd-nspawn --boot --machine="$1" --directory="$2/tree" --overlay-ro="/usr:$2/usr:/usr" \
            --register=no --keep-unit --private-network --console=pipe --link-journal=no --resolv-conf=off \
            --timezone=off --capability=all systemd.unit=basic.target
    ' boot "$MACHINE" "$WORK" >"$WORK/boot.log" 2>&1 </dev/null &
    NSPAWN=$!
    for _ in $(seq 300); do
        kill -0 "$NSPAWN" 2>/dev/null || break
        LEADER=$(cut -d ' ' -f 1 "/proc/$NSPAWN/task/$NSPAWN/children" 2>/dev/null) || true
        state=$([ -z "$LEADER" ] || in_machine systemctl is-system-running 2>/dev/null) || true
        case $state in running | degraded) return ;; esac
        sleep 0.2
    done
    cat "$WORK/boot.log" >&2
    fail "the machine did not boot"
}

in_machine() {
    nsenter --target "$LEADER" --all -- \
        env -i PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 SYSTEMD_COLORS=0 SYSTEMD_PAGER= "$@"
}

property() { in_machine systemctl show kyrodb -p "$1" --value; }
is_active() { [ "$(property ActiveState)" = active ]; }
is_restarted() { is_active && [ "$(property MainPID)" != "$1" ]; }
# journal_has PATTERN [OPTION OF JOURNALCTL..]: reads all of it, as journalctl fails when nobody reads on.
journal_has() { in_machine journalctl -u kyrodb --no-pager -o cat "${@:2}" | grep "$1" >/dev/null; }

# wait_for SECONDS WHAT COMMAND..
wait_for() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "$what"
        sleep 0.2
    done
}

# drop_in LINES: what changes of the service, at its next start.
drop_in() {
    mkdir -p "$(dirname "$DROP_IN")"
    printf '[Service]\n%s\n' "${1:-}" >"$DROP_IN"
    in_machine systemctl daemon-reload
}

systemctl_or_fail() { in_machine systemctl "$@" 2>"$WORK/err" || fail "systemctl $*: $(cat "$WORK/err")"; }

# ---- data

put() { in_machine curl -s -o /dev/null -w '%{http_code}' -X PUT --data-binary "value of key $1" "$URL/v1/kv/default/$1"; }
written=()
write() {
    local status
    status=$(put "$1") || true
    [[ $status == 20* ]] || fail "PUT of key $1 was answered with $status"
    written+=("$1")
}
expect_all() {
    local key
    for key in "${written[@]}"; do
        [ "$(in_machine curl -s "$URL/v1/kv/default/$key")" = "value of key $key" ] || fail "key $key is lost or differs ($1)"
    done
}
# A request of which the rest never comes.
half_a_request() {
    in_machine bash -c 'exec 3<>/dev/tcp/127.0.0.1/3030
        printf "PUT /v1/kv/default/9 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc" >&3
        exec cat <&3 >/dev/null' &
    sleep 0.5
}

make_tree
boot
echo "booted: $(in_machine systemctl --version | head -1)"

# ---- 1. the unit as it is

systemctl_or_fail start kyrodb
is_active || fail "the service is $(property ActiveState)"
[[ $(property StatusText) == serving* ]] || fail "its status text is '$(property StatusText)'"
main=$(property MainPID)
process() { in_machine cat "/proc/$main/status" | sed -n "s/^$1:[[:space:]]*\([^[:space:]]*\).*/\1/p"; }
[ "$(process Uid)" -ge 1000 ] || fail "it runs as user $(process Uid)"
[ "$(process CapBnd)$(process CapEff)" = 00000000000000000000000000000000 ] || fail "it has capabilities"
[ "$(process NoNewPrivs) $(process Seccomp)" = "1 2" ] || fail "it runs without the filter of system calls"
write 1
expect_all "first"
for line in '^ready http' 'ring: io_uring' '^Started kyrodb.service'; do
    journal_has "$line" || fail "the journal has no line '$line'"
done
journal_has 'no API keys' -p warning || fail "the journal has no warning of the server"
echo "1: active, $(property StatusText), user $(process Uid), a value is written and read"

# A call that the filter refuses may be one that the server does without: here it would end the server.
drop_in SystemCallErrorNumber=kill
systemctl_or_fail restart kyrodb
call() { in_machine curl -sf -o /dev/null -H 'content-type: application/json' "$@" || fail "curl $*"; }
call -X PUT -d '{"embedding": {"dim": 3, "metric": "cosine"}, "fields": {"year": "i64"}}' "$URL/v1/collections/books"
call -X PUT -d '{"text": "t", "embedding": [1, 0, 0], "metadata": {"year": 1843}}' "$URL/v1/collections/books/docs/a"
call -X POST -d '{"embedding": [1, 0, 0]}' "$URL/v1/collections/books/search"
for what in 'compact?wait=true' 'snapshot?wait=true' 'warmup?values=true&wait=true' 'rmi/build?wait=true'; do
    call -X POST "$URL/v1/$what"
done
call "$URL/metrics"
systemctl_or_fail restart kyrodb
expect_all "where a refused system call kills"
journal_has 'status=31/SYS' && fail "the filter refuses a system call of the server"
echo "1: no refused system call in a start, writes, searches, a compaction, a snapshot and a stop"

# ---- 2. the watchdog

drop_in "WatchdogSec=$WATCHDOG_SECONDS"
systemctl_or_fail restart kyrodb
write 2
main=$(property MainPID)
sleep $((2 * WATCHDOG_SECONDS))
[ "$(property MainPID)" = "$main" ] || fail "the watchdog ended an idle server"
in_machine kill -STOP "$main"
wait_for $((WATCHDOG_SECONDS + STOP_SECONDS + 10)) "the watchdog did not restart a server that hangs" is_restarted "$main"
journal_has 'Watchdog timeout' || fail "it was not the watchdog that restarted it"
expect_all "after the watchdog"
echo "2: an idle server stays, one that hangs is restarted, nothing is lost"

# ---- 3. a kill

drop_in
systemctl_or_fail restart kyrodb
write 3
main=$(property MainPID)
in_machine kill -KILL "$main"
wait_for 30 "a killed server was not restarted" is_restarted "$main"
expect_all "after a kill -9"
echo "3: a killed server is restarted, nothing is lost"

# ---- 4. a stop

write 4
began=$SECONDS
systemctl_or_fail stop kyrodb
took=$((SECONDS - began))
[ $took -lt $STOP_SECONDS ] || fail "the stop took $took s"
# A service that ended with another status than 0 is failed then, not inactive.
[ "$(property ActiveState) $(property Result)" = "inactive success" ] || fail "after a stop it is $(property ActiveState): $(property Result)"
systemctl_or_fail start kyrodb
expect_all "after a stop"
echo "4: a stop ends with status 0 in $took s, nothing is lost"

half_a_request
began=$SECONDS
systemctl_or_fail stop kyrodb
[ $((SECONDS - began)) -lt $STOP_SECONDS ] || fail "a stop with a slow client took $((SECONDS - began)) s"
[ "$(property Result)" = success ] || fail "a client that sends half a request makes a stop fail: $(property Result)"
journal_has 'cut: their clients' -p warning || fail "the journal has no warning of the clients that were cut"
systemctl_or_fail start kyrodb
expect_all "after a stop with a slow client"
systemctl_or_fail stop kyrodb

# ---- 5. the socket

systemctl_or_fail enable --now kyrodb.socket
is_active && fail "the service was started by the socket alone"
status=$(in_machine curl -s -m 60 -o /dev/null -w '%{http_code}' "$URL/v1/kv/default/1") || fail "the first connection is not answered: curl $?"
[ "$status" = 200 ] || fail "the first connection, which starts the server, is answered with $status"
wait_for 60 "a connection does not start the service" is_active
expect_all "by the socket"

in_machine bash -c 'while [ ! -e /run/end ]; do
    curl -s -m 60 -o /dev/null -w "%{http_code} %{exitcode}\n" "$0/v1/kv/default/1"
    sleep 0.01
done' "$URL" >"$WORK/answers" &
loop=$!
PIDS+=("$loop")
sleep 0.5
for _ in 1 2 3; do
    systemctl_or_fail restart kyrodb
    sleep 0.5
done
in_machine touch /run/end
wait "$loop" || true
count() { grep -c "$1" "$WORK/answers" || true; }
all=$(count .) good=$(count '^200 0') unready=$(count '^503 0') cut=$(count -E ' (52|56)$')
[ "$good" -gt 0 ] || fail "nothing was answered while the server restarted"
# Also those that waited for longer than a minute.
[ $((good + unready + cut)) = "$all" ] || fail "not all connections were taken: $(sort "$WORK/answers" | uniq -c | tr '\n' ';')"
[ "$unready" = 0 ] || fail "$unready of $all requests during 3 restarts are answered with 503 instead of waiting"
# Taken just when the server ends, before their request came.
[ "$cut" = 0 ] || echo "5: $cut of $all connections during 3 restarts were closed without an answer"
expect_all "after restarts by the socket"
echo "5: a connection starts the server, none of $all is refused during 3 restarts"
systemctl_or_fail disable --now kyrodb.socket
systemctl_or_fail stop kyrodb

# ---- 6. credentials

(
    umask 077
    in_machine kyrodb key create --name me --role admin --keys-file /etc/kyrodb/keys.json >"$WORK/me.key" 2>/dev/null
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
        -keyout "$TREE/etc/kyrodb/server.key" -out "$TREE/etc/kyrodb/server.pem" 2>/dev/null
    chmod 600 "$TREE/etc/kyrodb/keys.json"
)
# Files that nobody but root may read.
drop_in 'LoadCredential=kyrodb-keys:/etc/kyrodb/keys.json
LoadCredential=server.pem:/etc/kyrodb/server.pem
LoadCredential=server.key:/etc/kyrodb/server.key
Environment=KYRODB_TLS_CERTIFICATE=%d/server.pem KYRODB_TLS_KEY=%d/server.key'
systemctl_or_fail start kyrodb
over_tls() {
    in_machine curl -s -o /dev/null -w '%{http_code}' --cacert /etc/kyrodb/server.pem "$@" https://localhost:3030/v1/kv/default/1
}
status=$(over_tls) || fail "TLS with a key from a credential: curl $?"
[ "$status" = 401 ] || fail "without a key: $status"
status=$(over_tls -H "Authorization: Bearer $(cat "$WORK/me.key")") || true
[ "$status" = 200 ] || fail "with the key of a credential: $status"
[[ $(property StatusText) == *https://* ]] || fail "the status text says http where the server speaks TLS: $(property StatusText)"
systemctl_or_fail stop kyrodb
drop_in
echo "6: API keys, certificate and its key come as credentials"

# ---- 7. systemd-analyze

in_machine systemd-analyze verify kyrodb.service kyrodb.socket 2>&1 | grep kyrodb && fail "systemd-analyze verify complains"
in_machine systemd-analyze security --no-pager --threshold=$EXPOSURE_MAX kyrodb >"$WORK/security" ||
    fail "systemd-analyze security: $(tail -1 "$WORK/security")"
echo "7: $(tail -1 "$WORK/security" | sed 's/^[^O]*//')"
echo "passed"
