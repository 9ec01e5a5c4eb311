#!/usr/bin/env python3
"""Skewed loads on a running server: lognormal keys, then keys that always grow, then one tenant.

Prints the largest shard over the mean every second, and whether it came within 1.25 of the mean in a
minute of each skew, with writers going on. Every write must be acknowledged, and at the end every key
must have its last acknowledged value. Exit 1 otherwise.

Usage: tools/skew.py URL [SECONDS_A_PHASE=30] [WRITERS=4] [PHASES=lognormal,timestamps,tenant]
"""

import http.client
import json
import random
import sys
import threading
import time
from urllib.parse import urlparse

LINES = 200
RATIO = 1.25
PATIENCE = 60


class Writer(threading.Thread):
    """Has keys of its own, so that the last write of each is known."""

    def __init__(self, host, number, count, control):
        super().__init__(daemon=True)
        self.host, self.number, self.count, self.control = host, number, count, control
        self.random = random.Random(number)
        self.acked, self.errors, self.written = {}, [], 0

    def key(self, skew):
        if skew == "lognormal":
            key = int(self.random.lognormvariate(0, 2) * 1e12)
        elif skew == "timestamps":
            key = (1 << 60) + time.time_ns() // 1000 - self.control["began_us"]
            key = max(key * self.count, self.last + self.count)
            self.last = key
        else:
            key = (7 << 50) + self.random.getrandbits(40)
        return key // self.count * self.count + self.number

    def run(self):
        self.last = 0
        connection = http.client.HTTPConnection(self.host, timeout=60)
        while not self.control["over"]:
            try:
                self.batch(connection, self.control["skew"])
            except Exception as error:  # whatever it is, it is one too many
                self.errors.append(repr(error))
                return

    def batch(self, connection, skew):
        writes = []
        for _ in range(LINES):
            self.written += 1
            writes.append((self.key(skew), f"{self.number}-{self.written}-" + "x" * 90))
        body = "".join(json.dumps({"op": "put", "key": key, "value": value}) + "\n" for key, value in writes)
        connection.request("POST", "/v1/kv/default/bulk", body, {"content-type": "application/x-ndjson"})
        lines = connection.getresponse().read().decode().splitlines()
        if len(lines) != len(writes):
            raise RuntimeError(f"{len(lines)} answers to {len(writes)} lines")
        for line, (key, value) in zip(lines, writes):
            answer = json.loads(line)
            if answer["status"] not in (200, 201, 204):
                raise RuntimeError(line)
            self.acked[key] = value


def get(host, path):
    connection = http.client.HTTPConnection(host, timeout=60)
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())


def watch(host, skew, seconds, writers):
    began, even = time.monotonic(), None
    while True:
        time.sleep(1)
        took = time.monotonic() - began
        router = get(host, "/v1/router")
        ratio = router["largest_to_mean"]["records"]
        tablets = sum(len(collection["tablets"]) for collection in router["collections"])
        records = [load["records"] for load in router["loads"]]
        print(f"{skew:10} {took:5.1f} s: {ratio:.3f} {records} in {tablets} tablets", flush=True)
        even = None if ratio > RATIO else even if even is not None else took
        if any(writer.errors for writer in writers):
            return None
        if even is not None and took >= seconds:
            return even
        if even is None and took >= PATIENCE:
            return None


def check(host, acked):
    connection = http.client.HTTPConnection(host, timeout=60)
    keys, wrong = list(acked), 0
    for at in range(0, len(keys), 5000):
        stretch = keys[at : at + 5000]
        body = json.dumps({"keys": stretch})
        connection.request("POST", "/v1/kv/default/mget", body, {"content-type": "application/json"})
        records = json.loads(connection.getresponse().read())["records"]
        for key, record in zip(stretch, records):
            wrong += record is None or record.get("value") != acked[key]
    return wrong


def main():
    host = urlparse(sys.argv[1]).netloc
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 30
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 4
    phases = (sys.argv[4] if len(sys.argv) > 4 else "lognormal,timestamps,tenant").split(",")
    control = {"over": False, "skew": phases[0], "began_us": time.time_ns() // 1000}
    writers = [Writer(host, number, count, control) for number in range(count)]
    for writer in writers:
        writer.start()
    good = True
    for skew in phases:
        control["skew"] = skew
        even = watch(host, skew, seconds, writers)
        good &= even is not None
        print(f"{skew}: " + ("not even" if even is None else f"within {RATIO} after {even:.1f} s"), flush=True)
    control["over"] = True
    for writer in writers:
        writer.join()
    acked = {key: value for writer in writers for key, value in writer.acked.items()}
    errors = [error for writer in writers for error in writer.errors]
    wrong = check(host, acked)
    written = sum(writer.written for writer in writers)
    print(f"{written} writes, {len(acked)} keys, {len(errors)} errors {errors[:3]}, {wrong} lost or wrong")
    sys.exit(0 if good and not errors and not wrong else 1)


main()
