#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other.
# usage: fuzz.sh GO FUZZTIME
set -euo pipefail
cd "$(dirname "$0")/.."
go=$1 fuzztime=$2
ran=0

for package in $("$go" list ./...); do
  dir=$("$go" list -f '{{.Dir}}' "$package")
  for target in $(grep -hos '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed 's/^func //' | sort); do
    echo "fuzz $package $target"
    "$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 20x "$package" | tail -n 1
    ran=$((ran + 1))
  done
done
echo "$ran fuzz targets, no failure"
