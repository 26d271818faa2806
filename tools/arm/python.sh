#!/usr/bin/env bash
# Python for 64-bit Arm on a Debian machine of another kind, without privileges and without changing the machine.
#
#     tools/arm/python.sh FOLDER PINS prepare                     makes FOLDER, or does nothing: it is there
#     tools/arm/python.sh FOLDER PINS -m pytest tests/arm         Python with these arguments
#
# FOLDER holds Arm packages of Debian, only unpacked (root), the wheels of PINS for Arm (site) and the emulator. It is made
# anew when PINS or this file changed. `prepare` exits with 3, and says why, where it cannot be made.
#
# ARM_CPU: the processor that is played. cortex-a76 is of the class of Orin's; qemu's default has SVE, which is 20 times
# slower here and gives other numbers.
set -euo pipefail
folder=$1 pins=$2
shift 2
root=$folder/root site=$folder/site emulator=$folder/qemu-aarch64-static
key=$(cat "$pins" "$0" | cksum | cut -d' ' -f1)

missing() {
  echo "$*" >&2
  exit 3
}

# Debian's own resolver, with a state of its own: nothing of the machine's apt is written, and no program for Arm is run.
unpacked() { # ARCHITECTURE INTO PACKAGE...
  local state=$folder/apt-$1 into=$2
  local apt=(apt-get -qq -o "Dir::State::lists=$state/lists" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache"
    -o "APT::Architecture=$1" -o "APT::Architectures=$1" -o Debug::NoLocking=1 -o "APT::Sandbox::User=$(id -un)")
  shift 2
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$into"
  : > "$state/status"
  "${apt[@]}" update > "$folder/apt.log" 2>&1 || true # another source of this machine may have no packages for Arm
  "${apt[@]}" install --yes --download-only --no-install-recommends "$@" >> "$folder/apt.log" 2>&1 || return 1
  for package in "$state"/cache/archives/*.deb; do dpkg-deb --extract "$package" "$into"; done
  rm -rf "$state"
}

emulated() {
  local host
  if command -v qemu-aarch64-static > /dev/null; then
    cp "$(command -v qemu-aarch64-static)" "$emulator"
    return
  fi
  host=$(dpkg --print-architecture)
  # apt is asked for the one package alone: of the emulator only one file is used
  (cd "$folder" && { apt-get -qq download qemu-user-static > apt.log 2>&1 || unpacked "$host" "$folder/host" qemu-user-static; }) || return 1
  if compgen -G "$folder/qemu-user-static_*.deb" > /dev/null; then dpkg-deb --extract "$folder"/qemu-user-static_*.deb "$folder/host"; fi
  cp "$folder/host/usr/bin/qemu-aarch64-static" "$emulator" || return 1
  rm -rf "$folder/host" "$folder"/qemu-user-static_*.deb
}

prepare() {
  if [ "$(cat "$folder/ready" 2> /dev/null)" = "$key" ]; then return; fi
  for program in apt-get dpkg-deb; do
    command -v "$program" > /dev/null || missing "it takes Arm's Python from Debian's packages, and there is no $program here"
  done
  rm -rf "$folder"
  mkdir -p "$site"
  folder=$(cd "$folder" && pwd) root=$folder/root site=$folder/site emulator=$folder/qemu-aarch64-static
  emulated || missing "the emulator could not be had (package qemu-user-static): $(tail -n 1 "$folder/apt.log")"
  unpacked arm64 "$root" python3-minimal libpython3-stdlib python3-distutils libstdc++6 zlib1g libgomp1 ||
    missing "Debian's packages for arm64 could not be had: $(tail -n 1 "$folder/apt.log")"
  local version platforms=()
  version=$(basename "$(readlink "$root/usr/bin/python3")")
  version=${version#python}
  for glibc in 36 35 34 31 28 27 26 24 17; do platforms+=(--platform "manylinux_2_${glibc}_aarch64"); done
  python3 -m pip install --quiet --disable-pip-version-check --no-compile --target "$site" --only-binary=:all: \
    --python-version "$version" --implementation cp "${platforms[@]}" --platform manylinux2014_aarch64 -r "$pins" > "$folder/pip.log" 2>&1 ||
    missing "the wheels of $pins for Arm could not be had: $(tail -n 1 "$folder/pip.log")"
  # ONNX Runtime from 1.28 on reads /proc/cpuinfo of the machine, and dies of one that is not Arm's. A file at that path
  # under the emulator's prefix is read in its place.
  mkdir -p "$root/proc"
  for core in $(seq 0 $(($(nproc) - 1))); do
    printf 'processor\t: %s\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n' "$core"
    printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd42\nCPU revision\t: 1\n\n'
  done > "$root/proc/cpuinfo"
  echo "$key" > "$folder/ready"
}

if [ "${1:-}" = prepare ]; then
  prepare
  exit
fi
folder=$(cd "$folder" && pwd) root=$folder/root site=$folder/site emulator=$folder/qemu-aarch64-static
python=$root/usr/bin/$(basename "$(readlink "$root/usr/bin/python3")")
export QEMU_CPU=${ARM_CPU:-cortex-a76} QEMU_LD_PREFIX=$root PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}

# A child process is found by the kernel, which has to know programs for Arm. From Linux 6.7 on a user namespace has a
# register of its own, so that nothing changes for the rest of the machine; the emulator is kept open by it (flag F).
register='mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && printf "%s" ":arm64:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:$0:F" > /proc/sys/fs/binfmt_misc/register'
namespace=(unshare --user --map-root-user --mount sh -c)
if "${namespace[@]}" "$register" "$emulator" 2> /dev/null; then
  export EDGESMITH_ARM_CHILDREN=1
  exec "${namespace[@]}" "$register"' && exec "$@"' "$emulator" "$python" "$@"
fi
export EDGESMITH_ARM_CHILDREN=0
exec "$emulator" "$python" "$@"
