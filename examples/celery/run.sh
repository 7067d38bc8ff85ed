#!/usr/bin/env bash
# Runs the whole example: `examples/celery/run.sh amqp://guest:guest@localhost:5672/%2f`
#
# Makes a Python environment, builds the Rust half, starts both workers, runs both services and stops
# the workers. Fails if an expected line is missing. Logs and results stay in the folder that it
# prints at the end.
set -euo pipefail

broker=${1:-${CELERIAC__BROKER__URL:-}}
if [ -z "$broker" ]; then
    echo "usage: $0 amqp://user:password@host:port/vhost" >&2
    exit 64
fi
here=$(cd "$(dirname "$0")" && pwd)
work=${SHOP_FOLDER:-$(mktemp -d)}
environment=${SHOP_VENV:-$work/venv}
mkdir -p "$work"

export SHOP_BROKER_URL=$broker
export CELERIAC__BROKER__URL=$broker
# A SQLite file, unless the caller sets a Postgres.
export CELERIAC__RESULTS__URL=${CELERIAC__RESULTS__URL:-sqlite://$work/shop.db}

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

# has_line FILE PATTERN: fails unless the file has the line.
has_line() {
    grep -q -- "$2" "$1" || fail "no \`$2\` in $(basename "$1")"
}

echo "== Python environment and Rust programs"
[ -x "$environment/bin/python" ] || python3 -m venv "$environment"
"$environment/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
(cd "$here/rust" && cargo build --quiet)
programs=$(cd "$here/rust" && cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/debug

echo "== Both workers"
cd "$here"
"$environment/bin/python" -m celery -A shop worker -Q catalog -c 2 -l INFO >"$work/python.log" 2>&1 &
python=$!
workers+=("$python")
cd "$here/rust"
"$programs/shop" worker >"$work/rust.log" 2>&1 &
rust=$!
workers+=("$rust")
await_line "$python" "$work/python.log" ' ready\.$'
await_line "$rust" "$work/rust.log" 'worker ready name=shop queues=billing'

echo "== A Python service calls Rust"
(cd "$here" && "$environment/bin/python" order.py) | tee "$work/order-python.log"
has_line "$work/order-python.log" "^charged: {'order': '11111111-2222-3333-4444-555555555555', 'cents': 1299}$"
has_line "$work/order-python.log" "^declined: ValueError('over the limit of 10000.00')$"
has_line "$work/order-python.log" "^receipt: Ada paid 11.69$"
echo "== Its row, and what followed from it in Python"
id=$(sed -n 's/^task id: //p' "$work/order-python.log")
"$programs/shop" result "$id" | tee "$work/row.log"
has_line "$work/row.log" "^$id billing.charge SUCCESS after 1 attempt on shop$"
await_line "$python" "$work/python.log" "note charged: {'order': "
await_line "$python" "$work/python.log" 'note declined: '

echo "== A Rust service calls Python"
"$programs/order" | tee "$work/order-rust.log"
has_line "$work/order-rust.log" '^price: 5198$'
has_line "$work/order-rust.log" '^failed: OutOfStock of shop: no samovar before spring$'
has_line "$work/order-rust.log" '^receipt: "Ada paid 27.44"$'
echo "== What followed from it in Rust"
await_line "$rust" "$work/rust.log" 'alarm: a price is missing'

echo "== Both workers stop"
stop
has_line "$work/rust.log" 'worker stopped name=shop interrupted=0'
if grep -q 'queue arguments differ' "$work/rust.log"; then fail "Python declares a queue otherwise than Celeriac"; fi
echo "all lines found; logs and results are in $work"
