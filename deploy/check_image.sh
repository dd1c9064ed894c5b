#!/usr/bin/env bash
# Builds the image, runs it read-only and without root, sends requests, and stops it under load.
#   deploy/check_image.sh              with docker
#   deploy/check_image.sh podman
#   deploy/check_image.sh PROGRAM      anything with the verbs `build DIR TAG`, `run TAG` and `size TAG`
set -euo pipefail
cd "$(dirname "$0")/.."
engine=${1:-docker} tag=onnxpress-check port=18890
url=http://127.0.0.1:$port
fail() { echo "FAILED: $*" >&2; exit 1; }

case $engine in
  docker | podman)
    $engine build -q -t $tag . > /dev/null
    start() {
      exec "$engine" run --rm --read-only --cap-drop ALL --security-opt no-new-privileges --memory 512m \
        -e DRAIN_MS=1000 -p $port:8890 $tag
    }
    size() { $engine image inspect -f '{{.Size}} bytes' $tag; }
    [ "$($engine run --rm --entrypoint id $tag -u)" != 0 ] || fail 'the container runs as root'
    ;;
  *)
    "$engine" build . $tag > /dev/null 2>&1 || fail 'the image cannot be built'
    start() { RUN_ENV="DRAIN_MS=1000 PORT=$port" exec "$engine" run $tag; }
    size() { "$engine" size $tag; }
    ;;
esac
size

log=$(mktemp)
start > "$log" 2>&1 &
container=$!
trap 'kill $container 2> /dev/null || true' EXIT
until curl -fs $url/readyz > /dev/null; do
  kill -0 $container 2> /dev/null || fail "the container exited: $(cat "$log")"
  sleep 0.05
done
node make_request.js --url $url --upload models/mnist/sample.png | tee /dev/stderr | grep -qx 'Predicted digit : 2' || fail 'the sample is not recognised as a 2'

# requests that are open at SIGTERM are answered
codes=$(mktemp)
for _ in $(seq 20); do
  curl -s -o /dev/null -w '%{http_code}\n' -F image=@models/mnist/sample.png $url/predict >> "$codes" &
  clients+=($!)
done
kill -TERM $container
wait "${clients[@]}"
[ "$(sort "$codes" | uniq -c | tr -s ' ')" = ' 20 200' ] || fail "statuses of the requests that were open at SIGTERM: $(sort "$codes" | uniq -c)"
code=0
wait $container || code=$?
[ $code = 0 ] || fail "the container exited with code $code: $(cat "$log")"
echo 'OK: built, ready, correct, drained, exited with code 0'
