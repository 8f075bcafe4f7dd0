#!/usr/bin/env bash
# Builds a .deb of a binary, and of the gateway's a .tar.gz too.
# usage: build.sh GO NAME VERSION ARCH BINARY OUT
#   NAME  headgate or headgate-controller
#   ARCH  Debian's word: arm64, armhf, amd64
#   OUT   the folder for NAME_VERSION_ARCH.deb and headgate-VERSION-ARCH.tar.gz
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
go=$1 name=$2 version=$3 arch=$4 binary=$(realpath "$5") out=$(realpath -m "$6")
case $name in
  headgate) from=$here config=config.yaml ;;
  headgate-controller) from=$here/controller config=controller.yaml ;;
  *) echo "build.sh: there is no package $name" >&2; exit 2 ;;
esac
# Debian's versions begin with a digit.
[[ $version =~ ^v?[0-9] ]] || version=0.0.0+$version
version=${version#v}
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$out"

install -m 0755 "$binary" "$stage/$name"
cp "$from"/{"$config",sysusers.conf,postinst,prerm,postrm} "$stage/"
cp "$root/LICENSE" "$stage/copyright"
sed 's|/usr/local/bin/|/usr/bin/|' "$root/configs/$name.service" >"$stage/$name.service"
sed "s|\${STAGE}|$stage|; s|\${ARCH}|$arch|; s|\${VERSION}|$version|" "$from/nfpm.yaml" >"$stage/nfpm.yaml"
deb=${name}_${version}_$arch.deb
"$go" -C "$root" tool -modfile=tools/go.mod nfpm package --config "$stage/nfpm.yaml" --packager deb --target "$out/$deb" >"$stage/log" 2>&1 ||
  { cat "$stage/log" >&2; exit 1; }
built=("$out/$deb")

if [ "$name" = headgate ]; then
  # The archive is for boards without dpkg: 'sudo ./headgate install' does the rest.
  folder=headgate-$version-$arch
  mkdir "$stage/$folder"
  cp "$stage/headgate" "$stage/config.yaml" "$root/configs/headgate.service" "$root/LICENSE" "$stage/$folder/"
  tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner --mtime='@0' -cf - "$folder" | gzip -n >"$out/$folder.tar.gz"
  built+=("$out/$folder.tar.gz")
fi
ls -s --block-size=K "${built[@]}" | sed "s|$out/||; s/^/package: /"
