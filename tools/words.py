#!/usr/bin/env python3
"""Text as documents with vectors that need no model: each paragraph is a document, its vector the words in it, hashed.
For a first look; whoever wants meaning takes the vectors of a model.

Usage: tools/words.py lines FILE...           JSON lines for `kyrodb import`
       tools/words.py query TEXT [FILTER]     the body of a search
"""

import base64
import json
import math
import os
import re
import struct
import sys
import zlib

DIMENSION = 256
COMMON = set("all and are but for from has have its not that the them they this was were what when which with".split())


def vector_of(text):
    vector = [0.0] * DIMENSION
    for word in re.findall(r"[a-z0-9]{3,}", text.lower()):
        if word not in COMMON:
            hashed = zlib.crc32(word.rstrip("s").encode())
            vector[hashed % DIMENSION] += 1 if hashed & 1 << 31 else -1
    length = math.sqrt(sum(number * number for number in vector))
    return [number / length for number in vector] if length else None


def paragraphs(path):
    """Each with the headings that it is below."""
    headings = []
    with open(path, encoding="utf-8") as file:
        for paragraph in re.split(r"\n\s*\n", file.read()):
            heading = re.match(r"(#+) (.*)", paragraph)
            if heading:
                headings[len(heading[1]) - 1 :] = [heading[2]]
            elif paragraph.strip():
                yield headings[:], paragraph.strip("\n")


def lines(paths):
    for path in paths:
        name = os.path.basename(path)
        for number, (headings, text) in enumerate(paragraphs(path)):
            vector = vector_of(text)
            if vector:
                yield {
                    "id": f"{name}:{number}",
                    "text": text,
                    "embedding_b64": base64.b64encode(struct.pack(f"<{DIMENSION}f", *vector)).decode(),
                    "metadata": {"file": name, "headings": headings, "length": len(text)},
                }


def main():
    match sys.argv[1:]:
        case ["lines", *paths] if paths:
            for line in lines(paths):
                print(json.dumps(line))
        case ["query", text, *wanted] if len(wanted) < 2:
            query = {"embedding": vector_of(text), "limit": 3, "include": ["text", "metadata", "score"]}
            if wanted:
                query["filter"] = json.loads(wanted[0])
            print(json.dumps(query))
        case _:
            sys.exit(__doc__)


main()
