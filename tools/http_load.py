"""A closed loop over many connections from one thread: what a server answers, and how long each request took.

A module for other tools. Requests are bytes that were made before, so that the loop costs little; answers are only
cut into requests, not read.
"""

import multiprocessing
import os
import selectors
import socket
import time


def request(method, path, body=b"", content_type="application/json"):
    head = f"{method} {path} HTTP/1.1\r\nhost: load\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def whole(answer):
    """The length of an answer, when all of it is there."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = answer[:end].lower()
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    total = end + 4 + length
    return total if len(answer) >= total else None


class Connection:
    def __init__(self, address):
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer, self.began = b"", 0

    def ask(self, bytes_of_request):
        self.answer, self.began = b"", time.perf_counter_ns()
        self.socket.sendall(bytes_of_request)

    def take(self):
        """True when the answer is whole."""
        self.answer += self.socket.recv(1 << 16)
        if not whole(self.answer):
            return False
        if not self.answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not answered: {self.answer[:300]!r}")
        return True


def load(address, requests, connections, seconds):
    """Microseconds of each answer, ascending, and how long all of it took."""
    selector, times, at = selectors.EpollSelector(), [], 0
    for _ in range(connections):
        connection = Connection(address)
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.ask(requests[at % len(requests)])
        at += 1
    began = time.monotonic()
    end, open_now = began + seconds, connections
    while open_now:
        for key, _ in selector.select():
            connection = key.data
            if not connection.take():
                continue
            times.append((time.perf_counter_ns() - connection.began) / 1000)
            if time.monotonic() < end:
                connection.ask(requests[at % len(requests)])
                at += 1
            else:
                selector.unregister(connection.socket)
                connection.socket.close()
                open_now -= 1
    return sorted(times), time.monotonic() - began


def alone(address, requests, seconds, pause, channel):
    """One connection with a pause after each answer, by a process that does not wait for others on its core."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        print("no right to go first on the core: times are longer beside a load")
    connection, times = Connection(address), []
    end, at = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        connection.ask(requests[at % len(requests)])
        at += 1
        while not connection.take():
            pass
        times.append((time.perf_counter_ns() - connection.began) / 1000)
        time.sleep(pause)
    channel.send(sorted(times))


def beside(address, requests, seconds, pause=0.001):
    """Begins `alone` in a process of its own; gives what waits for its times."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=alone, args=(address, requests, seconds, pause, theirs))
    process.start()

    def finish():
        times = ours.recv()
        process.join()
        return times

    return finish


def share(times, part):
    return times[int(part * (len(times) - 1))]


def cpu_us(pid):
    """Processor time of a process, user and system."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * 1e6 / os.sysconf("SC_CLK_TCK")
