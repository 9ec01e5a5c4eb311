#!/usr/bin/env python3
"""Reads both forms of the metrics with the parsers of prometheus_client, and asks `promtool check metrics` for its opinion
on the first.

    tools/metrics_check.py http://127.0.0.1:3030/metrics [PROMTOOL]
"""

import subprocess
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_prometheus


def fetch(url, accept):
    with urllib.request.urlopen(urllib.request.Request(url, headers={"accept": accept})) as answer:
        return answer.headers["content-type"], answer.read().decode()


def main():
    url, promtool = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    kind, text = fetch(url, "text/plain")
    assert kind.startswith("text/plain; version=0.0.4"), kind
    names = [family.name for family in read_prometheus(text)]
    kind, open_text = fetch(url, "application/openmetrics-text")
    assert kind.startswith("application/openmetrics-text; version=1.0.0"), kind
    open_names = [family.name for family in read_openmetrics(open_text)]
    wrong = [name for name in names + open_names if not name.startswith("kyrodb_")]
    wrong += [name for name in names if names.count(name) > 1]
    print(f"metrics: {len(names)} families as Prometheus text, {len(open_names)} as OpenMetrics, wrong: {wrong}")
    if promtool:
        told = subprocess.run([promtool, "check", "metrics"], input=text, text=True, capture_output=True)
        print(f"promtool check metrics: exit {told.returncode}\n{told.stdout}{told.stderr}", end="")
        sys.exit(told.returncode or bool(wrong))
    print("promtool check metrics: skipped, there is no promtool here")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
