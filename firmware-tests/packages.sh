#!/usr/bin/env bash
# Installs, upgrades, removes and purges the Debian package with the real dpkg,
# in a root of its own, and looks at the unit with systemd's own eyes.
# usage: packages.sh GO BINARY      (root, dpkg, systemd)
set -euo pipefail
cd "$(dirname "$0")/.."
go=$1 binary=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root arch=$(dpkg --print-architecture)
fail() { echo "packages: $*" >&2; exit 1; }

for version in 1.0.0 1.1.0; do
  ./configs/package/build.sh "$go" headgate $version "$arch" "$binary" "$work/out" >/dev/null
done
old=$work/out/headgate_1.0.0_$arch.deb new=$work/out/headgate_1.1.0_$arch.deb
dpkg-deb -f "$old" Package Version Architecture | tr '\n' ' ' && echo
[ "$(dpkg-deb --info "$old" conffiles)" = /etc/headgate/config.yaml ] || fail "the configuration is no conffile"

mkdir -p "$root"/var/lib/dpkg/{info,updates,triggers} "$root"/etc "$root"/usr/share
: >"$root/var/lib/dpkg/status"
printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\n' >"$root/etc/group"
run_dpkg() { dpkg --root="$root" --force-script-chrootless --force-depends --log=/dev/null "$@" >"$work/log" 2>&1 || { cat "$work/log"; fail "dpkg $1 failed"; }; }

run_dpkg --install "$old"
"$root/usr/bin/headgate" version >/dev/null || fail "the installed binary does not run"
grep -q '^headgate:' "$root/etc/passwd" || fail "there is no user"
grep -q '^gpio:.*headgate' "$root/etc/group" || fail "the user may not touch pins"
[ "$(stat -c %a "$root/etc/headgate" "$root/etc/headgate/config.yaml" | tr '\n' ' ')" = "750 640 " ] || fail "others may read the configuration"
grep -q 'ExecStart=/usr/bin/headgate' "$root/lib/systemd/system/headgate.service" || fail "the unit starts another binary"
timeout 60 "$root/usr/bin/headgate" doctor --host unix:///nonexistent >/dev/null 2>&1 && fail "doctor spoke to nobody"

mkdir -p "$root/var/lib/headgate" && echo data >"$root/var/lib/headgate/headgate.db"
echo 'log: {level: warn}' >>"$root/etc/headgate/config.yaml"
kept() {
  [ "$(cat "$root/var/lib/headgate/headgate.db")" = data ] || fail "$1: data is gone"
  grep -q 'level: warn' "$root/etc/headgate/config.yaml" || fail "$1: the configuration is not the edited one"
}
run_dpkg --install "$new"
kept upgrade
[ "$(dpkg-query --admindir="$root/var/lib/dpkg" -W -f '${Version}' headgate)" = 1.1.0 ] || fail "it was not upgraded"
run_dpkg --remove headgate
kept remove
[ ! -e "$root/usr/bin/headgate" ] || fail "remove: the binary is still there"
run_dpkg --install "$new"
kept "install again"
run_dpkg --purge headgate
[ ! -e "$root/var/lib/headgate" ] && [ ! -e "$root/etc/headgate" ] || fail "purge: data or configuration is still there"

if command -v systemd-analyze >/dev/null; then
  mkdir -p "$work/unit" && sed "s|/usr/local/bin/headgate|$(realpath "$binary")|g" configs/headgate.service >"$work/unit/headgate.service"
  systemd-analyze verify "$work/unit/headgate.service" 2>"$work/verify" || true
  ! grep -i 'headgate.service' "$work/verify" || fail "systemd does not understand the unit"
  systemd-analyze security --offline=true --threshold=35 --no-pager "$work/unit/headgate.service" | tail -1
fi
echo "packages: installed, upgraded, removed and purged"
