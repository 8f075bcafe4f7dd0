#!/usr/bin/env bash
# Builds bin/headgate for the boards and shows that each is static.
# usage: cross.sh GO TRIMPATH LDFLAGS OS/ARCH[/ARM]...
set -euo pipefail
cd "$(dirname "$0")/.."
go=$1 trimpath=$2 ldflags=$3
shift 3
mkdir -p dist

for target in "$@"; do
  IFS=/ read -r os arch arm <<<"$target"
  out=dist/headgate-$os-$arch${arm:+v$arm}
  GOOS=$os GOARCH=$arch GOARM=${arm:-} CGO_ENABLED=0 "$go" build $trimpath -ldflags "$ldflags" -o "$out" ./cmd/headgate
  if readelf -lW "$out" | grep -q INTERP; then
    echo "$out is not static" >&2
    exit 1
  fi
  bytes=$(stat -c %s "$out")
  printf '%-32s static  %5.1f MB\n' "$out" "$(awk "BEGIN {print $bytes / 1e6}")"
  # The budget is 20 MB; docs/PERFORMANCE.md says what is over it and why. This
  # bound keeps it from growing further.
  if [ "$arch" = arm64 ] && [ "$bytes" -gt 36000000 ]; then
    echo "$out has $bytes bytes: it grew over 36 MB" >&2
    exit 1
  fi
done
