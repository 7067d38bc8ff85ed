#!/usr/bin/env bash
# Runs both fleets and compares them: `examples/port/run.sh amqp://guest:guest@localhost:5672/%2f`
#
# Makes a Python environment, builds the Rust fleet, starts both workers, sends every call to both,
# and stops them. Fails at a difference that is not on purpose. Logs and results stay in the folder
# that it prints at the end.
set -euo pipefail

broker=${1:-${CELERIAC__BROKER__URL:-}}
if [ -z "$broker" ]; then
    echo "usage: $0 amqp://user:password@host:port/vhost" >&2
    exit 64
fi
here=$(cd "$(dirname "$0")" && pwd)
work=${FLEET_FOLDER:-$(mktemp -d)}
environment=${FLEET_VENV:-$work/venv}
mkdir -p "$work/results"

export FLEET_BROKER_URL=$broker
export FLEET_FOLDER=$work
export CELERIAC__BROKER__URL=$broker
# A SQLite file, unless the caller sets a Postgres.
export CELERIAC__RESULTS__URL=${CELERIAC__RESULTS__URL:-sqlite://$work/fleet.db}

workers=()
stop() {
    for worker in "${workers[@]}"; do kill -TERM "$worker" 2>/dev/null || true; done
    for worker in "${workers[@]}"; do wait "$worker" || true; done
    workers=()
}
trap stop EXIT

fail() {
    echo "run.sh: $1; the logs are in $work" >&2
    exit 1
}

# await_line PROCESS FILE PATTERN: waits for a line of a running process, for a minute at most.
await_line() {
    grep -q -m 1 -- "$3" < <(timeout 60 tail --pid="$1" -n +1 -F "$2" 2>/dev/null) || fail "no \`$3\` in $(basename "$2")"
    echo "  $(grep -m 1 -- "$3" "$2")"
}

echo "== Python environment and Rust program"
[ -x "$environment/bin/python" ] || python3 -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
(cd "$here/rust" && cargo build --quiet)
programs=$(cd "$here/rust" && cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/debug

echo "== Both fleets"
cd "$here"
FLEET_JOURNAL=$work/python.jsonl "$environment/bin/python" -m celery -A fleet.app worker \
    -Q fleet-python,fleet-python-urgent -c 4 -O fair -l INFO >"$work/python.log" 2>&1 &
python=$!
workers+=("$python")
cd "$here/rust"
"$programs/fleet" list tasks --json >"$work/tasks.json"
FLEET_JOURNAL=$work/rust.jsonl "$programs/fleet" worker >"$work/rust.log" 2>&1 &
rust=$!
workers+=("$rust")
await_line "$python" "$work/python.log" ' ready\.$'
await_line "$rust" "$work/rust.log" 'worker ready name=fleet'

echo "== Every call to both"
cd "$here"
"$environment/bin/python" compare.py || fail "the fleets differ"

echo "== Both fleets stop"
stop
grep -q 'worker stopped name=fleet interrupted=0' "$work/rust.log" || fail "the Rust worker did not drain"
echo "logs and results are in $work"
