#!/usr/bin/env python3
"""llhttp's own vectors for requests against a running server: framed as llhttp frames them, or refused.

The vectors are Markdown (a request, then the log of the parser) and are fetched by hand: DIR is `test/request` of
github.com/nodejs/llhttp. Only what llhttp takes or refuses by default is asked; its lenient modes are passed over, and
so is what ends in the middle of a message or hands the connection to another protocol. Vectors without a Host get one,
since HTTP/1.1 asks for it and llhttp does not.

What fails: a request that llhttp refuses and the server takes, and one that both take with another number of
messages. What the server refuses and llhttp takes is printed: stricter is allowed, and each should have a reason.

Usage: tools/llhttp_vectors.py DIR HOST:PORT
"""

import json
import re
import socket
import sys
from pathlib import Path

DATA_AFTER_CLOSE = 5
HANDED_OVER = {21, 22, 23}
FRAMING = {400, 413, 414, 417, 431, 501, 505}
BLOCK = re.compile(
    r'<!-- meta=(\{.*?\}) -->\s*```http\n(.*?)```\s*```log\n(.*?)```', re.DOTALL)


def request_of(text):
    """The bytes that a vector stands for, by the rules at the head of llhttp's test runner."""
    text = text.removesuffix("\n")
    text = re.sub(r"\\\n", "", text)
    text = text.replace("\n", "\r\n")
    for escaped, plain in (("\\r", "\r"), ("\\n", "\n"), ("\\t", "\t"), ("\\f", "\f")):
        text = text.replace(escaped, plain)
    text = re.sub(r"\\x([0-9a-fA-F]+)", lambda match: chr(int(match[1], 16)), text)
    text = re.sub(r"\\([0-7]{1,3})", lambda match: chr(int(match[1], 8)), text)
    if "${" in text:
        return None
    return text.encode("utf-8" if any(ord(char) > 255 for char in text) else "latin-1")


def with_hosts(request):
    """Adds a Host behind each request line of HTTP/1.1 whose head has none."""
    def mend(match):
        head = match[0]
        return head if re.search(rb"(?im)^host:", head) else head.replace(match[1], match[1] + b"Host: h\r\n", 1)
    return re.sub(rb"((?:^|(?<=\n))[A-Z][A-Z-]* [^\r\n]* HTTP/1\.1\r\n)(?:[^\r\n]+\r\n)*", mend, request)


def ask(address, request):
    """The statuses and problem codes of all answers, until the server closes."""
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    heads = re.finditer(rb"HTTP/1\.1 (\d{3}) ", received)
    return [int(head[1]) for head in heads if head[1] != b"100"], received


def main():
    directory, target = Path(sys.argv[1]), sys.argv[2].removeprefix("http://")
    host, port = target.rsplit(":", 1)
    same = refused = stricter = passed_over = 0
    failed = []
    for path in sorted(directory.glob("*.md")):
        for match in BLOCK.finditer(path.read_text()):
            meta, text, log = json.loads(match[1]), match[2], match[3]
            title = path.read_text()[: match.start()].rsplit("\n#", 1)[-1].split("\n", 1)[0].strip("# ")
            name = f"{path.stem}: {title}"
            request = request_of(text)
            error = re.search(r'error code=(\d+) reason="(.*)"', log)
            code, reason = (int(error[1]), error[2]) if error else (0, "")
            complete = log.count("message complete")
            # Behind a message that ends the connection nothing is read: what came before is answered all the same.
            is_refused = code not in (0, DATA_AFTER_CLOSE)
            is_open = not is_refused and log.count("message begin") != complete
            if meta.get("type") != "request" or meta.keys() & {"pause", "skip", "skipBody"} or request is None \
                    or is_open or code in HANDED_OVER:
                passed_over += 1
                continue
            statuses, received = ask((host, int(port)), with_hosts(request))
            by_framing = bool(statuses) and statuses[-1] in FRAMING and b"Connection: close" in received
            if is_refused:
                refused += 1
                # llhttp knows which methods there are; here a resource knows its own, and answers 404 or 405.
                is_by_method = "method" in reason and set(statuses) <= {404, 405}
                if not by_framing and statuses and not is_by_method:
                    failed.append(f"{name}: llhttp refuses it, answered {statuses}")
            elif by_framing:
                stricter += 1
                detail = re.findall(rb'"detail":"(.*?)"', received)
                print(f"stricter: {name}: {statuses[-1]} {detail[-1:]!r}")
            elif len(statuses) != complete:
                failed.append(f"{name}: llhttp sees {complete} messages, answered {statuses}")
            else:
                same += 1
    for line in failed:
        print(f"FAILED: {line}")
    print(f"{same} framed alike, {refused} refused by both or left without an answer, {stricter} refused here alone,"
          f" {passed_over} passed over, {len(failed)} failed")
    if not same:
        sys.exit(f"no vector in {directory} that the server takes")
    sys.exit(bool(failed))


main()
