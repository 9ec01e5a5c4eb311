#!/usr/bin/env bash
# h1spec (github.com/uNetworking/h1spec): 33 requests, framed well and badly. FILE is its `http_test.ts`, fetched by hand.
# It wants a server that echoes every body at `/`; its requests go to routes of this server instead: `GET /` to /health,
# `POST /` to a PUT of a record, whose answer has no body to compare. Runs with deno, which npx fetches.
# Usage: tools/h1spec.sh FILE
source "$(dirname "$0")/lib.sh"

FILE=${1:?usage: tools/h1spec.sh FILE}
command -v npx >/dev/null || skip "npx is not installed"
build
make_work_dir
start_kyrodb "$WORK/kyrodb" -- --shards 1
sed -e 's|"GET / |"GET /health |; s|Extra lineGET / |Extra lineGET /health |; s|"POST / |"PUT /v1/kv/default/1 |' "$FILE" >"$WORK/http_test.ts"
address=${URL#http://}
npx --yes deno@2 run --allow-net --no-check "$WORK/http_test.ts" "${address%:*}" "${address##*:}"
