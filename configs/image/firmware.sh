#!/usr/bin/env bash
# Puts the firmware of the radios of Raspberry Pi 3, 4, 5 and Zero 2 W, its
# licence, and the rules of the countries into a folder, as Debian packages them.
# usage: firmware.sh FOLDER
set -euo pipefail
out=$1
package=firmware-brcm80211_20250410-2_all.deb
sum=266cc703e2299f5253fd1ff9a1fd625d85a2c8e5a88b1a65fcc190ac384ce3d7
cache=${XDG_CACHE_HOME:-$HOME/.cache}/headgate
deb=$cache/$package
good() { echo "$sum  $deb" | sha256sum --check --status 2>/dev/null; }

if ! good; then
  mkdir -p "$cache"
  for pool in http://deb.debian.org/debian/pool https://snapshot.debian.org/archive/debian/20250501T000000Z/pool; do
    curl -fsSL --retry 3 -m 120 -o "$deb.part" "$pool/non-free-firmware/f/firmware-nonfree/$package" && mv "$deb.part" "$deb" && good && break
  done
  good || { echo "make image: $package cannot be fetched from Debian, or is not what it was: WIFI=no builds an image that cannot use Wi-Fi" >&2; exit 1; }
fi

all=$(mktemp -d)
trap 'rm -rf "$all"' EXIT
dpkg-deb -x "$deb" "$all"
mkdir -p "$out/brcm"
for f in "$all"/usr/lib/firmware/brcm/brcmfmac434{30,36,55}*; do
  case $f in
    *-sdio.bin | *.clm_blob | *raspberrypi,*) cp -L "$f" "$out/brcm/" ;;
  esac
done
cp "$all/usr/share/doc/firmware-brcm80211/copyright" "$out/brcm/LICENCE"

# The kernel knows the keys of those who keep the rules, not Debian's.
for f in regulatory.db regulatory.db.p7s; do
  from=/lib/firmware/$f-upstream
  [ -e "$from" ] || { echo "make image: $from is missing: apt-get install wireless-regdb, or build without Wi-Fi with WIFI=no" >&2; exit 1; }
  cp -L "$from" "$out/$f"
done
