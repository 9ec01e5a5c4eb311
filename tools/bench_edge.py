#!/usr/bin/env python3
"""Server CPU of a request beside nginx and redis, in one run: A B A B, medians of the pairs' ratios.

  nginx64, nginx256   GETs of warm 100-byte values, 10,000 keys in a random order, beside nginx `return 200` of as many
                      bytes, by wrk, at 64 and 256 connections
  nginx64p16          the same at 64 connections with 16 requests of a connection under way
  redis64, redis64p16 beside redis-server, which redis-benchmark asks for 10,000 keys
  put64               durable PUTs at 64 connections beside redis with `appendfsync always`
  shards2             p99 of GETs at 64 connections of two shards, times that of one

One shard on core 0, the load on core 1; for `shards2` the load shares core 1 with the second shard. Every value is read
and compared once before; an answer other than 200 ends the run.

Usage: tools/bench_edge.py [--seconds 5] [--pairs 5] [CASE..]; exit 1 when a ratio is above its target.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KYRODB = ROOT / "target/release/kyrodb"
KEYS = 10_000
VALUE = "x" * 100
TARGETS = {
    "nginx64": 0.90, "nginx256": 0.90, "nginx64p16": 0.12, "redis64": 1.0, "redis64p16": 1.0, "put64": 1.5, "shards2": 1.5,
}
WRK = """
local pipeline, prefix = tonumber(os.getenv("PIPELINE")), os.getenv("PREFIX")
local batches, at = {{}}, 0
init = function(args)
    math.randomseed(7)
    local order = {{}}
    for key = 1, {keys} do order[key] = key - 1 end
    for key = {keys}, 2, -1 do
        local other = math.random(key)
        order[key], order[other] = order[other], order[key]
    end
    for first = 1, {keys}, pipeline do
        local parts = {{}}
        for key = first, first + pipeline - 1 do parts[#parts + 1] = wrk.format("GET", prefix .. order[key]) end
        batches[#batches + 1] = table.concat(parts)
    end
end
request = function()
    at = at % #batches + 1
    return batches[at]
end
""".format(keys=KEYS)
NGINX = """
daemon off; master_process off; pid {dir}/nginx.pid; error_log {dir}/nginx.err;
events {{ worker_connections 1024; }}
http {{
    access_log off; keepalive_requests 1000000000; default_type application/octet-stream;
    server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{value}"; }} }}
}}
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def cpu_us(pid):
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1_000_000 // os.sysconf("SC_CLK_TCK")


def run(core, command, **environment):
    environment = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    command = ["taskset", "-c", core, *map(str, command)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


class Server:
    def __init__(self, name, core, command, port):
        self.name, self.port = name, port
        log = open(WORK / f"{name}.log", "w")
        environment = {**os.environ, "KYRODB_DISABLE_HTTP_LOG": "1"}
        command = ["taskset", "-c", core, *map(str, command)]
        self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        STARTED.append(self.process)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.1)
        sys.exit(f"{name} does not listen")

    def cpu_of(self, work):
        """CPU microseconds of the server for each request of `work`, which gives how many it made."""
        before = cpu_us(self.process.pid)
        requests = work()
        return (cpu_us(self.process.pid) - before) / requests


def start_kyrodb(name, shards, cores):
    port = free_port()
    command = [KYRODB, "serve", "--data-dir", WORK / name, "--listen", f"127.0.0.1:{port}", "--shards", shards]
    server = Server(name, cores, command, port)
    client = http.client.HTTPConnection("127.0.0.1", port)
    while True:
        client.request("GET", "/readyz")
        answer = client.getresponse()
        answer.read()
        if answer.status == 200:
            break
        time.sleep(0.05)
    lines = "".join(json.dumps({"op": "put", "key": key, "value": VALUE}) + "\n" for key in range(KEYS))
    client.request("POST", "/v1/kv/default/bulk", lines, {"Content-Type": "application/x-ndjson"})
    taken = client.getresponse().read().count(b'"status":201')
    for key in range(KEYS):
        client.request("GET", f"/v1/kv/default/{key}")
        if client.getresponse().read().decode() != VALUE:
            sys.exit(f"key {key} has another value")
    if taken != KEYS:
        sys.exit(f"{taken} of {KEYS} records were taken")
    if shards > 1:
        split = json.dumps({"collection": "default", "split_at": [KEYS // 2]})
        client.request("POST", "/v1/router/rebalance?wait=true", split, {"Content-Type": "application/json"})
        answer = client.getresponse()
        told = answer.read()
        if answer.status != 200:
            sys.exit(f"the split was answered with {answer.status}: {told}")
        client.request("GET", "/v1/router")
        collections = json.loads(client.getresponse().read())["collections"]
        owners = {tablet["owner"] for one in collections if one["name"] == "default" for tablet in one["tablets"]}
        if len(owners) != shards:
            sys.exit(f"the keys are on the shards {owners}, not on {shards}")
    return server


def start_nginx():
    port = free_port()
    (WORK / "nginx.conf").write_text(NGINX.format(dir=WORK, port=port, value=VALUE))
    return Server("nginx", "0", ["nginx", "-c", WORK / "nginx.conf", "-p", WORK], port)


def start_redis(name, *options):
    port = free_port()
    (WORK / name).mkdir()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", WORK / name, "--save", "", *options]
    return Server(name, "0", command, port)


def wrk(server, connections, pipeline, latency=False):
    prefix = "/v1/kv/default/" if server.name.startswith("kyrodb") else "/"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{OPTIONS.seconds}s", "--latency", "-s", WORK / "keys.lua"]
    out = run("1", [*command, f"http://127.0.0.1:{server.port}"], PIPELINE=pipeline, PREFIX=prefix)
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit(f"{server.name}: {out}")
    if latency:
        number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", out).groups()
        return float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]
    return int(re.search(r"(\d+) requests in", out).group(1))


def redis_benchmark(server, test, connections, pipeline, requests):
    command = ["redis-benchmark", "-p", server.port, "-t", test, "-n", requests, "-c", connections, "-P", pipeline]
    run("1", [*command, "-d", len(VALUE), "-r", KEYS, "--csv"])
    return requests


def kyrodb_puts(server):
    count = 20_000 * OPTIONS.seconds
    command = [KYRODB, "bench", "kv", "--url", f"http://127.0.0.1:{server.port}", "--workload", "put", "--records", KEYS]
    command += ["--durability", "fsync", "--operations", count, "--connections", 64, "--value-bytes", len(VALUE)]
    told = json.loads(run("1", [*command, "-o", "json"]))
    if told.get("errors", 0):
        sys.exit(f"puts failed: {told}")
    return count


def compare(case, unit, ours, theirs):
    ratios = []
    for pair in range(1, OPTIONS.pairs + 1):
        a, b = ours(), theirs()
        ratios.append(a / b)
        print(f"{case} {pair}: {a:.2f} {unit} and {b:.2f} {unit}, ratio {a / b:.3f}", flush=True)
    result = statistics.median(ratios)
    print(f"{case}: median ratio {result:.3f}, at most {TARGETS[case]} wanted", flush=True)
    return result <= TARGETS[case]


def run_case(case, kyrodb):
    requests = OPTIONS.seconds * 60_000
    if case.startswith("nginx"):
        connections, pipeline = (256 if "256" in case else 64), (16 if case.endswith("p16") else 1)
        nginx = start_nginx()
        cpu = lambda server: server.cpu_of(lambda: wrk(server, connections, pipeline))
        return compare(case, "us", lambda: cpu(kyrodb), lambda: cpu(nginx))
    if case.startswith("redis"):
        pipeline = 16 if case.endswith("p16") else 1
        requests *= 8 if pipeline > 1 else 1
        redis = start_redis(f"redis-{case}")
        redis_benchmark(redis, "set", 64, 16, 20 * KEYS)
        asked = lambda: redis_benchmark(redis, "get", 64, pipeline, requests)
        ours = lambda: kyrodb.cpu_of(lambda: wrk(kyrodb, 64, pipeline))
        return compare(case, "us", ours, lambda: redis.cpu_of(asked))
    if case == "put64":
        redis = start_redis("redis-put", "--appendonly", "yes", "--appendfsync", "always")
        asked = lambda: redis_benchmark(redis, "set", 64, 1, 20_000 * OPTIONS.seconds)
        return compare(case, "us", lambda: kyrodb.cpu_of(lambda: kyrodb_puts(kyrodb)), lambda: redis.cpu_of(asked))
    two = start_kyrodb("kyrodb-two", 2, "0,1")
    return compare(case, "us", lambda: wrk(two, 64, 1, True), lambda: wrk(kyrodb, 64, 1, True))


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--seconds", type=int, default=5)
parser.add_argument("--pairs", type=int, default=5)
parser.add_argument("cases", nargs="*", default=list(TARGETS), metavar="CASE")
OPTIONS = parser.parse_args()
unknown = set(OPTIONS.cases) - set(TARGETS)
if unknown:
    parser.error(f"no such case: {', '.join(sorted(unknown))}")
missing = [tool for tool in ("wrk", "nginx", "redis-server", "redis-benchmark") if not shutil.which(tool)]
if missing:
    print(f"skipped: {', '.join(missing)} not installed")
    # As `skip` in tools/lib.sh.
    sys.exit(77)
subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)
STARTED = []
(ROOT / "target/tools").mkdir(parents=True, exist_ok=True)
WORK = Path(tempfile.mkdtemp(dir=ROOT / "target/tools"))
try:
    (WORK / "keys.lua").write_text(WRK)
    kyrodb = start_kyrodb("kyrodb", 1, "0")
    short = [case for case in OPTIONS.cases if not run_case(case, kyrodb)]
finally:
    for process in STARTED:
        process.terminate()
    for process in STARTED:
        process.wait()
    shutil.rmtree(WORK)
if short:
    sys.exit(f"not reached: {', '.join(short)}")
