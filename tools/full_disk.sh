#!/usr/bin/env bash
# A full disk: a 512 MiB ext4 image on a loop device, small log segments. Fills it until writes are
# answered with 507 or 503; then reads must go on, deletes must work, writing must resume when space is
# free again, and nothing acknowledged may be missing, also after a kill -9.
# Usage: sudo tools/full_disk.sh
source "$(dirname "$0")/lib.sh"

VALUE_BYTES=1048576
# About 115 are taken: the ballast, spare segments and reserves take the rest of the disk.
VALUES_MIN=20
[ "$(id -u)" = 0 ] || skip "a loop mount needs root"
command -v mkfs.ext4 >/dev/null || skip "mkfs.ext4 is missing"
build
make_work_dir

mounted() {
    mkdir -p "$WORK/disk"
    truncate -s 512M "$WORK/image"
    mkfs.ext4 -q -F "$WORK/image"
    mount -o loop "$WORK/image" "$WORK/disk" 2>"$WORK/mount.err"
}
mounted || skip "no loop device: $(tail -1 "$WORK/mount.err")"
trap 'clean_up_mount' EXIT
clean_up_mount() {
    for pid in "${PIDS[@]}"; do kill -9 "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
    PIDS=()
    umount "$WORK/disk" || umount -l "$WORK/disk"
    clean_up
}

value() { { yes "value of key $1" 2>/dev/null || true; } | head -c "$VALUE_BYTES"; }
put() { value "$1" | curl -s -o /dev/null -w '%{http_code}' -X PUT --data-binary @- "$URL/v1/kv/default/$1"; }
status_of() { curl -s -o /dev/null -w '%{http_code}' -X "$1" "$URL/v1/kv/default/$2"; }
expect_value() {
    curl -sf "$URL/v1/kv/default/$1" >"$WORK/found" && value "$1" >"$WORK/wanted" && cmp -s "$WORK/found" "$WORK/wanted" ||
        fail "key $1 is lost or differs ($2)"
}
expect_all() {
    local key
    for key in "${kept[@]}"; do expect_value "$key" "$1"; done
    for key in "${deleted[@]}"; do [ "$(status_of GET "$key")" = 404 ] || fail "deleted key $key is back ($1)"; done
}

OPTIONS=(--shards 2 --log-segment-bytes 1MiB --memory 2GiB)
start_kyrodb "$WORK/disk/data" "${OPTIONS[@]}"
# Room to give back later: what an operator would delete.
fallocate -l 96M "$WORK/disk/ballast"

kept=() deleted=() status=000
for key in $(seq 1 1000); do
    status=$(put "$key")
    case $status in
    200 | 201 | 204) kept+=("$key") ;;
    *) break ;;
    esac
done
case $status in
503 | 507) echo "full after ${#kept[@]} values of $VALUE_BYTES bytes: status $status" ;;
*) fail "the disk did not get full: last status $status after ${#kept[@]} values" ;;
esac
[ "${#kept[@]}" -ge "$VALUES_MIN" ] || fail "full after ${#kept[@]} values: it was never written to"

expect_all "full"
for key in $(seq 1 3 "${#kept[@]}"); do
    code=$(status_of DELETE "$key")
    [ "$code" = 204 ] || fail "a delete on a full disk was answered with $code"
    deleted+=("$key")
done
[ "${#deleted[@]}" -gt 0 ] || fail "nothing was deleted on the full disk"
remaining=()
for key in "${kept[@]}"; do [ $((key % 3)) = 1 ] || remaining+=("$key"); done
kept=("${remaining[@]}")
expect_all "after deletes"
echo "reads went on, ${#deleted[@]} deletes worked"

rm "$WORK/disk/ballast"
for _ in $(seq 60); do
    status=$(put 1000001)
    [[ $status == 20* ]] && break
    sleep 0.5
done
[[ $status == 20* ]] || fail "writing did not resume within 30 s: status $status"
kept+=(1000001)
expect_all "after writing resumed"
stop "$KYRODB_PID" KILL
start_kyrodb "$WORK/disk/data" "${OPTIONS[@]}"
expect_all "after a restart"
echo "writing resumed, nothing lost"
