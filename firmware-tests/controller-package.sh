#!/usr/bin/env bash
# Installs, upgrades, removes and purges the controller's Debian package with the
# real dpkg, in a root of its own, and looks at the unit with systemd's own eyes.
# usage: controller-package.sh GO BINARY      (root, dpkg, systemd)
set -euo pipefail
cd "$(dirname "$0")/.."
go=$1 binary=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root arch=$(dpkg --print-architecture)
fail() { echo "controller package: $*" >&2; exit 1; }

for version in 1.0.0 1.1.0; do
  ./configs/package/build.sh "$go" headgate-controller $version "$arch" "$binary" "$work/out" >/dev/null
done
old=$work/out/headgate-controller_1.0.0_$arch.deb new=$work/out/headgate-controller_1.1.0_$arch.deb
[ "$(dpkg-deb --info "$old" conffiles)" = /etc/headgate/controller.yaml ] || fail "the configuration is no conffile"

mkdir -p "$root"/var/lib/dpkg/{info,updates,triggers} "$root"/etc "$root"/usr/share
: >"$root/var/lib/dpkg/status"
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
run_dpkg() { dpkg --root="$root" --force-script-chrootless --force-depends --log=/dev/null "$@" >"$work/log" 2>&1 || { cat "$work/log"; fail "dpkg $1 failed"; }; }

run_dpkg --install "$old"
program=$root/usr/bin/headgate-controller
grep -q '^headgate-controller:' "$root/etc/passwd" || fail "there is no user"
[ "$(stat -c %a "$root/etc/headgate/controller.yaml")" = 640 ] || fail "others may read the configuration"
grep -q 'ExecStart=/usr/bin/headgate-controller run' "$root/lib/systemd/system/headgate-controller.service" || fail "the unit starts another binary"
data=$root/var/lib/headgate-controller
"$program" --config "$root/etc/headgate/controller.yaml" --dir "$data" certificate create --name localhost --out "$work/broker" >/dev/null ||
  fail "the installed binary does not take its configuration"
authority=$(sha256sum <"$data/ca.key")
echo 'log: {level: warn}' >"$root/etc/headgate/controller.yaml"
kept() {
  [ "$(sha256sum <"$data/ca.key")" = "$authority" ] || fail "$1: the certificate authority is gone"
  grep -q 'level: warn' "$root/etc/headgate/controller.yaml" || fail "$1: the configuration is not the edited one"
}
run_dpkg --install "$new"
kept upgrade
run_dpkg --remove headgate-controller
kept remove
[ ! -e "$program" ] || fail "remove: the binary is still there"
run_dpkg --purge headgate-controller
[ ! -e "$data" ] && [ ! -e "$root/etc/headgate" ] || fail "purge: data or configuration is still there"

if command -v systemd-analyze >/dev/null; then
  mkdir -p "$work/unit" && sed "s|/usr/local/bin/headgate-controller|$(realpath "$binary")|g" configs/headgate-controller.service >"$work/unit/headgate-controller.service"
  systemd-analyze verify "$work/unit/headgate-controller.service" 2>"$work/verify" || true
  ! grep -i 'headgate-controller.service' "$work/verify" || fail "systemd does not understand the unit"
  systemd-analyze security --offline=true --threshold=20 --no-pager "$work/unit/headgate-controller.service" | tail -1
fi
echo "controller package: installed, upgraded, removed and purged"
