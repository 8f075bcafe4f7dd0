#!/bin/sh
# Builds TinyGo at a pinned version into a folder outside the tree, for the
# tests. It needs Go (which fetches the sources and an older Go), LLVM's
# libraries, and the AssemblyScript compiler's wasm-opt:
#
#   apt install llvm-19-dev clang-19 libclang-19-dev lld-19 wasi-libc libclang-rt-dev-wasm32
#   make toolchains
#
# The module proxy serves TinyGo without its submodules, so the C library is
# that of the system, and package net is not there. Who has TinyGo's own
# release needs none of this.
set -eu
version=v0.39.0
go=go1.25.5 # what this version of TinyGo compiles for, at most
dir=${HEADGATE_TINYGO:-${XDG_CACHE_HOME:-$HOME/.cache}/headgate/tinygo-$version}
here=$(cd "$(dirname "$0")" && pwd)
opt=$here/../../assemblyscript/node_modules/binaryen/bin/wasm-opt
libc=/usr/lib/wasm32-wasi/libc.a
builtins=$(ls /usr/lib/clang/*/lib/wasi/libclang_rt.builtins-wasm32.a /usr/lib/llvm-*/lib/clang/*/lib/wasi/libclang_rt.builtins-wasm32.a 2>/dev/null | head -n 1)

for needed in "$opt" "$libc" /usr/lib/llvm-19/include/llvm-c/Core.h "${builtins:-libclang_rt.builtins-wasm32.a}"; do
  if ! test -e "$needed"; then
    echo "tinygo: $needed is missing: see the head of $0" >&2
    exit 1
  fi
done

if ! test -x "$dir/bin/tinygo"; then
  unset GOFLAGS GOWORK
  export GOTOOLCHAIN=$go GO111MODULE=on
  mkdir -p "$dir/bin"
  root=$dir/root
  src=$(cd / && go mod download -json github.com/tinygo-org/tinygo@$version | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  rm -rf "$root"
  cp -r "$src" "$root"
  chmod -R u+w "$root"
  (cd "$root" && GOFLAGS=-mod=mod go build -tags llvm19 -o "$dir/tinygo" .)
  mkdir -p "$root/src/net" # an empty submodule
  sed -e "s|@LIBC@|$libc|" -e "s|@BUILTINS@|$builtins|" "$here/wasip1.json" > "$root/targets/wasip1.json"
  cp -r "$(dirname "$opt")/.." "$dir/binaryen"
  cat > "$dir/bin/tinygo" <<EOF
#!/bin/sh
PATH=$(go env GOROOT)/bin:\$PATH
export PATH GOTOOLCHAIN=local TINYGOROOT=$root WASMOPT=$dir/binaryen/bin/wasm-opt
exec $dir/tinygo "\$@"
EOF
  chmod +x "$dir/bin/tinygo"
fi
echo "HEADGATE_TINYGO=$dir"
