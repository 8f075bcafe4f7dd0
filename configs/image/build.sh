#!/usr/bin/env bash
# Builds the flashable Raspberry Pi image: gokrazy with the gateway on it.
# usage: build.sh GO HEADGATE OUT
#   HEADGATE  the arm64 binary, the one that the packages carry
#   OUT       the image to write; OUT.gz and SHA256SUMS come beside it
# IMAGE_MIB (2048) is the card's least size, COMPRESS=no leaves out OUT.gz,
# WIFI=no the firmware of the boards' radios, which is not free software.
# Needs mtools and e2fsprogs; curl, dpkg-deb and wireless-regdb for Wi-Fi.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
go=$1 binary=$(realpath "$2") out=$(realpath -m "$3")
mib=${IMAGE_MIB:-2048}
for tool in mformat mcopy mkfs.ext4; do
  PATH=$PATH:/sbin:/usr/sbin command -v $tool >/dev/null || { echo "make image: $tool is missing: apt-get install mtools e2fsprogs" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
instance=$work/instances/headgate
mkdir -p "$instance/builddir" "$instance/bin" "$(dirname "$out")"
cp -r "$here/go.mod" "$here/go.sum" "$here/launch" "$here/clock" "$here/wifi" "$instance/builddir/"
cp "$here/config.json" "$instance/"
install -m 0755 "$binary" "$instance/bin/headgate"
mkdir "$instance/firmware"
[ "${WIFI:-yes}" = no ] || "$here/firmware.sh" "$instance/firmware"

# In a subshell: the packer looks for everything below its own folder.
"$go" build -C "$here/../.." -modfile=tools/go.mod -o "$work/gok" github.com/gokrazy/tools/cmd/gok
(cd "$work" && ./gok --parent_dir instances -i headgate overwrite --full "$out" --target_storage_bytes=$((mib << 20)) >"$work/log" 2>&1) ||
  { cat "$work/log" >&2; exit 1; }

# The packer fills the boot file system to its last byte. It is made anew, as
# large as its partition, so that there is room for the setup file.
boot="$out@@4194304" # partition 1 begins at sector 8192
mkdir "$work/boot"
mcopy -s -m -i "$boot" ::/ "$work/boot"
dd if=/dev/zero of="$out" bs=1M seek=4 count=100 conv=notrunc status=none
mformat -i "$boot" -v HEADGATE -N 48454144 -h 64 -s 32 -T 204800 -H 8192 ::
mcopy -s -m -i "$boot" "$work"/boot/* ::/
mcopy -i "$boot" "$here/headgate-setup.example.yaml" ::/

# The packer prints where the data partition is.
read -r offset blocks < <(sed -n 's|.*mkfs.ext4 -F -E offset=\([0-9]*\) [^ ]* \([0-9]*\).*|\1 \2|p' "$work/log")
PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F -L headgate -m 1 -E "offset=$offset" "$out" "$blocks"

cd "$(dirname "$out")"
name=$(basename "$out")
if [ "${COMPRESS:-yes}" = yes ]; then
  gzip -kfn "$name"
  sha256sum "$name" "$name.gz" >SHA256SUMS
else
  sha256sum "$name" >SHA256SUMS
fi
ls -sh "$name"* | sed 's/^/image: /'
