# Each check is one command; `.ci/run` is all of them. A tool that lacks something here says so and exits with 77.

default: check

# What should be green before every commit
check: fmt clippy test

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --all-targets -- -D warnings

test:
    cargo test

# Rules of the house only
tidy:
    cargo test --test tidy

# Licenses, bans, sources; advisories too where there is a network
deny:
    cargo deny check

# kill -9 under concurrent writers
kill9 rounds="200" writers="32":
    tools/kill9.sh {{rounds}} {{writers}}

# 100,000 seeds of crashes and histories
nightly seeds="100000" first="1":
    tools/nightly.sh {{seeds}} {{first}}

# Skewed loads on four shards
skew seconds="30":
    tools/skew.sh {{seconds}}

# The server against its description, its metrics against promtool
interface examples="100":
    tools/schemathesis.sh {{examples}}

# The server on glommio: its tests, or beside the ring
glommio what="test":
    tools/glommio.sh {{what}}

# Does this release of glommio park for ever? Exit 1 when it does
glommio-hang timer_us="200" seconds="60":
    cd tools/glommio_hang && cargo run --release -- {{timer_us}} {{seconds}}

# A full 512 MiB disk (root)
full-disk:
    tools/full_disk.sh

# The unit and the socket under a real systemd (root, systemd-nspawn)
systemd-boot:
    tools/systemd_boot.sh

# Beside the peers, each five pairs in one run
bench-redis:
    tools/bench_redis.sh
bench-edge:
    tools/bench_edge.py
bench-quiet:
    tools/bench_quiet.sh

# Each fuzz target for a while (nightly, cargo-fuzz)
fuzz seconds="300":
    tools/fuzz.sh {{seconds}}

# The scalar paths of the learned index under Miri (nightly, miri)
miri:
    tools/miri.sh

# The learned index under criterion, and beside other structures
bench-rmi:
    cargo bench --bench rmi
# The distance kernels beside simsimd
bench-kernels:
    cargo bench --bench vector
bench-peers file:
    cd benches/peers && cargo run --release -- {{file}}

# The storage engine beside RocksDB and LMDB, in an empty directory on the disk to be measured (libclang, liburing)
bench-engines dir *options:
    cd benches/engines && cargo run --release -- run --dir {{dir}} {{options}}

ci:
    .ci/run
