#!/usr/bin/env bash
# What a running node says of itself must be clean in the eyes of promtool, and so must the rules that come with it.
# .ci/check_metrics.sh [BINARY]; fails when promtool is not there and cannot be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${1:-${CARGO_TARGET_DIR:-target}/debug/campanile}

if ! command -v promtool >/dev/null; then
    root=()
    [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get update -qq
    "${root[@]}" apt-get install -y -qq --no-install-recommends prometheus
fi
promtool --version

data=$(mktemp -d)
node=
stop() {
    [ -z "$node" ] || kill "$node" 2>/dev/null || true
    wait 2>/dev/null || true
    rm -rf "$data"
}
trap stop EXIT

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
"$binary" serve --set "node.data=$data/node" --set "api.listen=127.0.0.1:$port" </dev/null 2>"$data/log" &
node=$!
for _ in $(seq 300); do
    python3 - "$url/readyz?write=1" <<'PYTHON' && break
import sys, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=2)
except OSError:
    sys.exit(1)
PYTHON
    kill -0 "$node" || { cat "$data/log"; exit 1; }
    sleep 0.1
done

# Some of everything, so that series with labels are there too: a publish, one that is refused, an unknown address, the cache.
python3 - "$url" >"$data/metrics" <<'PYTHON'
import json, sys, urllib.error, urllib.request
url = sys.argv[1]
def ask(method, path, body=None, kind="application/json"):
    request = urllib.request.Request(url + path, method=method, data=body, headers={"Content-Type": kind} if body else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()
people = b'{"kind": "user", "id": "ann", "role": "guest"}\n'
ask("POST", "/v1/import", people, "application/x-ndjson")
broadcast = {"type": "guest.guidance", "audience": {"users": ["ann"]}, "title": "T", "body": "B"}
json.loads(ask("POST", "/v1/broadcasts", json.dumps(broadcast).encode()))["id"]
ask("POST", "/v1/broadcasts", b"{}")
ask("GET", "/v1/nowhere")
ask("PUT", "/v1/cache/teams/a", b"x", "text/plain")
ask("GET", "/v1/cache/teams/a")
print(ask("GET", "/metrics"), end="")
PYTHON
grep -q '^campanile_published_total{priority="normal"} 1$' "$data/metrics"
promtool check metrics <"$data/metrics"
printf '%s series are clean\n' "$(grep -vc '^#' "$data/metrics")"
promtool check rules data/observability/alerts.yml
promtool test rules data/observability/alerts_test.yml
promtool check config --syntax-only data/observability/prometheus.yml
