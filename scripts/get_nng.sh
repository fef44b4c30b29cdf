#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Gets nng 1.12 (and the mbedTLS it uses) where the system's is older: Debian's own packages of a
# later release, checked by apt's signatures, unpacked into third_party/nng. Nothing of the system
# is touched, and root is not needed.
#
# JACKDAW_NNG_ROOT names another folder to unpack into (CMake has a variable of the same name).
# JACKDAW_NNG_FORCE=1 fetches although a good copy, or the system's, is there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh

release=forky
packages=(libnng-dev libmbedtls-dev)
minimum=1.12
root=${JACKDAW_NNG_ROOT:-third_party/nng}
[[ $root == /* ]] || root=$PWD/$root
parent=$(dirname "$root")
advice="Install nng $minimum or newer (and below 2) where CMake finds it, or unpack $release's \
${packages[*]} into ${root#"$PWD"/} with dpkg -x, and try again."

# The same file that CMake's find_package reads, so the two never disagree.
version_in() {
  local prefix file
  for prefix in "$@"; do
    for file in "$prefix"/lib/*/cmake/nng/nng-config-version.cmake \
      "$prefix"/lib*/cmake/nng/nng-config-version.cmake; do
      [[ -r $file ]] || continue
      sed -n 's/^set(PACKAGE_VERSION "\([0-9.]*\)").*/\1/p' "$file"
      return
    done
  done
}

# nng 2 is another interface, so only later versions of 1 will do.
is_new_enough() {
  [[ $1 =~ ^1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= ${minimum#1.}))
}

is_complete() {
  local lib
  is_new_enough "$(version_in "$1/usr")" && [[ -r $1/usr/include/nng/nng.h ]] || return 1
  for lib in libnng.a libmbedtls.a libmbedx509.a libmbedcrypto.a; do
    compgen -G "$1/usr/lib/*/$lib" >/dev/null || return 1
  done
}

# Every mirror of Debian itself that this machine is set up for, one per line. Before the machine's
# first `apt-get update` indextargets knows none; the addresses it would ask are then looked at.
# Security mirrors carry no later release.
mirrors() {
  local found codename
  # The $(NAMES) are apt's.
  # shellcheck disable=SC2016
  found=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 2>/dev/null |
    sed -n 's/^Debian|Debian|main|//p')
  if [[ -z $found ]]; then
    codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
    found=$(apt-get update --print-uris -o Dir::State::Lists="$work/none" 2>/dev/null |
      sed -n "s#^'\(.*/\)dists/\($codename\|stable\)/InRelease'.*#\1#p")
  fi
  awk '!/security|^cdrom:|^$/ && !seen[$0]++' <<<"$found"
}

# fetch MIRROR: downloads the packages into $work/debs with a configuration of our own.
fetch() {
  local arch signed_by options=()
  arch=$(dpkg --print-architecture)
  signed_by=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ -r $signed_by ]] || signed_by=${signed_by%.gpg}.pgp
  rm -rf "$work/lists" "$work/cache" "$work/debs"
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/debs"
  printf 'deb [arch=%s target=Packages signed-by=%s] %s %s main\n' \
    "$arch" "$signed_by" "$1" "$release" >"$work/sources.list"
  # Hooks of the machine's own updates have no business with ours.
  cat >"$work/apt.conf" <<END
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::Lists "$work/lists";
Dir::Cache "$work/cache";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
APT::Architectures { "$arch"; };
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
END
  options=(-c "$work/apt.conf" -qq)
  apt-get "${options[@]}" update >>"$work/log" 2>&1 &&
    (cd "$work/debs" &&
      apt-get "${options[@]}" download "${packages[@]/%//$release}" >>"$work/log" 2>&1)
}

if [[ ${JACKDAW_NNG_FORCE:-0} != 1 ]]; then
  if is_new_enough "$(version_in /usr/local /usr)" || is_complete "$root"; then
    exit 0
  fi
fi

is_debian() {
  grep -Eqs '^(ID|ID_LIKE)=.*debian' /etc/os-release &&
    command -v apt-get >/dev/null && command -v dpkg >/dev/null
}
is_debian || die "nng $minimum is fetched with apt on Debian only, and this is another system. $advice"

mkdir -p "$parent" || die "cannot create $parent: make it writable and try again."
# One at a time; whoever waited finds the work done.
{ exec {lock}>"$parent/.nng.lock"; } 2>/dev/null ||
  die "cannot write to $parent: make it writable and try again."
flock -w 300 "$lock" ||
  die "another get_nng.sh is still at work after 5 minutes; see what holds it, and try again."
if [[ ${JACKDAW_NNG_FORCE:-0} != 1 ]] && is_complete "$root"; then
  exit 0
fi
# What a killed run left behind.
rm -rf "$parent"/.nng.tmp.*
work=$(mktemp -d "$parent/.nng.tmp.XXXXXX") ||
  die "cannot write to $parent: make it writable and try again."
trap 'rm -rf "$work"' EXIT

mapfile -t uris < <(mirrors)
((${#uris[@]} > 0)) ||
  die "apt names no mirror of Debian on this machine (apt-get indextargets), so nng $minimum cannot be fetched. $advice"

say "Getting nng $minimum or newer: ${packages[*]} of Debian $release, into ${root#"$PWD"/} (about 15 MB to download)."
fetched=''
for uri in "${uris[@]}"; do
  if fetch "$uri"; then
    fetched=yes
    break
  fi
done
if [[ -z $fetched ]]; then
  sed 's/^/  /' "$work/log" >&2
  if grep -q 'is expired' "$work/log"; then
    die "this machine's mirror has an old copy of Debian $release, or the clock is wrong: use a mirror that is kept up to date. If the mirror is frozen on purpose, that is for apt's own configuration to say (Acquire::Check-Valid-Until), which this script follows."
  fi
  die "apt could not get ${packages[*]} of Debian $release from this machine's mirror (its words are above). Check the network and the mirror, and try again. $advice"
fi

for deb in "$work"/debs/*.deb; do
  dpkg -x "$deb" "$work/new" || die "$(basename "$deb") cannot be unpacked: is the disk full?"
done
is_complete "$work/new" ||
  die "Debian $release's packages hold nng '$(version_in "$work/new/usr")', and $minimum or newer, below 2, with static libraries is needed. $advice"

# In place by a rename: a build that runs meanwhile sees the old copy or the new one.
chmod 755 "$work/new"
if [[ -e $root ]]; then
  mv -T "$root" "$work/old"
fi
mv -T "$work/new" "$root"
say "nng $(version_in "$root/usr") is in ${root#"$PWD"/}."
