#!/usr/bin/env python3
"""Random point reads of keys that `kyrodb import` has loaded from a SOSD file, every value checked.

Usage: random_reads.py URL KEYS uniform|zipfian SECONDS   reads over 8 connections, prints rate and latencies
       random_reads.py --first URL KEYS                   how long until a server that is just starting answers one
"""

import array
import http.client
import json
import math
import mmap
import random
import sys
import threading
import time
from urllib.parse import urlparse

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
MASK = (1 << 64) - 1
CONNECTIONS = 8
VALUE_BYTES = 100


def value_of(key):
    """As src/cli/values.rs makes it."""
    value, x = [], key
    while len(value) < VALUE_BYTES:
        x = (x + 0x9E3779B97F4A7C15) & MASK
        word = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
        word ^= word >> 31
        for _ in range(10):
            value.append(ALPHABET[word & 63])
            word >>= 6
    return "".join(value[:VALUE_BYTES]).encode()


class Keys:
    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.count = int.from_bytes(self.bytes[:8], "little")

    def at(self, place):
        return int.from_bytes(self.bytes[8 + 8 * place : 16 + 8 * place], "little")

    def choose(self, dice, distribution):
        if distribution == "uniform":
            return self.at(dice.randrange(self.count))
        # Ranks by the inverse of the integral of 1 / rank, spread over all keys.
        rank = int(math.exp(dice.random() * math.log(self.count)))
        return self.at(rank * 0x9E3779B97F4A7C15 % self.count)


def get(connection, key):
    connection.request("GET", f"/v1/kv/default/{key}")
    answer = connection.getresponse()
    return answer.status, answer.read()


def reader(host, keys, distribution, end, seed, latencies, wrong):
    dice, connection = random.Random(seed), http.client.HTTPConnection(host, timeout=60)
    while time.monotonic() < end:
        key = keys.choose(dice, distribution)
        began = time.perf_counter()
        status, body = get(connection, key)
        latencies.append(time.perf_counter() - began)
        if status != 200 or body != value_of(key):
            wrong.append((key, status, body[:80]))


def read_for(url, path, distribution, seconds):
    keys, latencies, wrong = Keys(path), array.array("d"), []
    end = time.monotonic() + seconds
    threads = [
        threading.Thread(target=reader, args=(urlparse(url).netloc, keys, distribution, end, seed, latencies, wrong))
        for seed in range(CONNECTIONS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ordered = sorted(latencies)
    at = lambda part: round(1e6 * ordered[int(part * (len(ordered) - 1))])
    print(
        f"{distribution}: {len(ordered)} reads, {len(ordered) / seconds:.0f}/s by this client, p50 {at(0.5)} us, "
        f"p99 {at(0.99)} us, {len(wrong)} wrong {wrong[:3]}"
    )
    return not wrong and len(ordered) > 0


def first_read(url, path):
    keys, began = Keys(path), time.monotonic()
    key = keys.at(keys.count // 3)
    while time.monotonic() - began < 60:
        try:
            status, body = get(http.client.HTTPConnection(urlparse(url).netloc, timeout=60), key)
        except OSError:
            status, body = 0, b""
        if status == 200:
            print(f"first point read answered {1000 * (time.monotonic() - began):.0f} ms after the start")
            return body == value_of(key)
        time.sleep(0.005)
    return False


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if len(arguments) == 3 and arguments[0] == "--first":
        good = first_read(*arguments[1:])
    elif len(arguments) == 4 and arguments[2] in ("uniform", "zipfian"):
        good = read_for(*arguments[:3], float(arguments[3]))
    else:
        sys.exit(__doc__)
    sys.exit(0 if good else 1)
