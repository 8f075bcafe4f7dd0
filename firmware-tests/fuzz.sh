#!/usr/bin/env bash
# Runs every fuzz target of the module, one after the other.
# usage: fuzz.sh GO FUZZTIME
set -euo pipefail
cd "$(dirname "$0")/.."
go=$1 fuzztime=$2
ran=0

while read -r package dir; do
  for target in $(grep -hos '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed 's/^func //' | sort); do
    echo "fuzz $package $target"
    # A minute of minimising per input, which is the default, leaves little time
    # for new ones; what fails is shown whole.
    if ! said=$("$go" test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 20x "$package" 2>&1 </dev/null); then
      # The end of the time can be taken for a failure (golang/go#75804). What
      # fails writes its input down.
      if grep -q 'context deadline exceeded' <<<"$said" && ! grep -q 'Failing input' <<<"$said"; then
        echo "ended with its time"
      else
        printf '%s\n' "$said"
        exit 1
      fi
    else
      printf '%s\n' "$said" | tail -n 1
    fi
    ran=$((ran + 1))
  done
done < <("$go" list -f '{{.ImportPath}} {{.Dir}}' ./...)
echo "$ran fuzz targets, no failure"
