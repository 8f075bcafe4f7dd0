#!/bin/sh
# Fills engine/ from the npm package that npm/package-lock.json pins by its
# checksum. Where that cannot be done it says so and leaves the folder as it
# is, unless HEADGATE_REQUIRE_TOOLCHAINS is set.
set -eu
cd "$(dirname "$0")"
out=engine/micropython.wasm.gz
if [ "$out" -nt npm/package-lock.json ]; then
  exit 0
fi
without() {
  echo "$1: headgate is built without Python" >&2
  test -z "${HEADGATE_REQUIRE_TOOLCHAINS:-}"
  exit
}
command -v npm >/dev/null || without "npm is not installed"
npm ci --silent --no-audit --no-fund --prefix npm || without "npm cannot fetch MicroPython"
gzip -9nc npm/node_modules/@micropython/micropython-webassembly-pyscript/micropython.wasm >"$out.new"
mv "$out.new" "$out"
