#!/usr/bin/env bash
# Makes a bare Debian 12 in a folder, copies this repository's HEAD into it and runs the commands of the
# README there, as a stranger would: as root, and as a plain user with sudo. Then runs each command once
# more without a network. Needs root, debootstrap, 6 GB of disk and some patience.
#
#   setup/bare_debian.sh                          everything: root and user, demo and test
#   setup/bare_debian.sh --as user --run demo     a part of it
#
#   --as root|user|both    who types the command        (default both; each in a Debian of its own)
#   --run demo|test|both   which command                (default both)
#   --targets "a b"        other make targets instead of demo and test
#   --mirror URL           Debian's mirror              (default $DEBIAN_MIRROR or http://deb.debian.org/debian)
#   --dir DIR              where to work                (default /var/tmp/etude-bare)
#   --keep                 leave the Debians there afterwards
#   --with-torch DIR       a LibTorch of the host's, copied in and named by ETUDE_TORCH: no download
#
# The host's settings for pip are taken along: PIP_* variables, the file of PIP_CONFIG_FILE or
# /etc/pip.conf, the certificates of PIP_CERT or SSL_CERT_FILE; so are http_proxy and https_proxy.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)

fail() { printf 'setup/bare_debian.sh: %s\n' "$1" >&2; [ -z "${2:-}" ] || printf '  hint: %s\n' "$2" >&2; exit 1; }

who=both what=both targets='' mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
dir=/var/tmp/etude-bare keep='' torch=''
while [ $# -gt 0 ]; do
  case "$1" in
    --keep) keep=1; shift; continue ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; exit 0 ;;
    --as | --run | --targets | --mirror | --dir | --with-torch) ;;
    *) fail "unknown option '$1'" "see --help" ;;
  esac
  [ $# -ge 2 ] || fail "$1 needs a value"
  case "$1" in
    --as) who=$2 ;;
    --run) what=$2 ;;
    --targets) targets=$2 ;;
    --mirror) mirror=$2 ;;
    --dir) dir=$2 ;;
    --with-torch) torch=$2 ;;
  esac
  shift 2
done
case "$who" in root | user) whos=$who ;; both) whos='root user' ;; *) fail "--as $who: root, user or both" ;; esac
case "$what" in demo | test) runs=$what ;; both) runs='demo test' ;; *) fail "--run $what: demo, test or both" ;; esac
[ -z "$targets" ] || runs=$targets

[ "$(id -u)" -eq 0 ] || fail "making a Debian takes root" "sudo $0"
command -v debootstrap > /dev/null || fail "debootstrap is missing" "apt-get install debootstrap"
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

mounted=()
unmount() {
  local m
  for m in "${mounted[@]}"; do umount -l "$m" 2> /dev/null || true; done
  mounted=()
}
clean() {
  unmount
  [ -n "$keep" ] || rm -rf "${dir:?}"/root "${dir:?}"/user "${dir:?}"/base.partial
}
trap clean EXIT

if [ ! -f "$dir/base/etc/debian_version" ]; then
  echo "== bare Debian 12 from $mirror"
  rm -rf "$dir/base.partial"
  debootstrap --variant=minbase bookworm "$dir/base.partial" "$mirror" > "$dir/debootstrap.log" 2>&1 || {
    tail -n 20 "$dir/debootstrap.log" >&2
    fail "debootstrap failed (its last lines are above)" "--mirror takes another mirror"
  }
  mv "$dir/base.partial" "$dir/base"
fi

# What the commands see of this host: nothing but these. Folders of wheels on the host are not there.
environment=(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb)
while IFS= read -r name; do environment+=("$name=${!name}"); done < \
  <(compgen -e | grep -E '^(PIP_.*|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY)$' | grep -vE '^PIP_(CERT|CONFIG_FILE|FIND_LINKS)$')
certificates=${PIP_CERT:-${SSL_CERT_FILE:-}}
[ ! -f "$certificates" ] || environment+=(PIP_CERT=/etc/host-certificates.crt)
[ -z "$torch" ] || environment+=(ETUDE_TORCH=/opt/libtorch/torch)

make_machine() {   # $1: root or user
  local root=$dir/$1
  rm -rf "$root"
  cp -a "$dir/base" "$root"
  cp -L /etc/resolv.conf "$root/etc/resolv.conf" 2> /dev/null || true
  cp -L /etc/hosts "$root/etc/hosts" 2> /dev/null || true
  [ ! -f "$certificates" ] || cp -L "$certificates" "$root/etc/host-certificates.crt"
  local pip_conf=${PIP_CONFIG_FILE:-/etc/pip.conf}
  [ ! -f "$pip_conf" ] || cp -L "$pip_conf" "$root/etc/pip.conf"
  # sudo drops the environment, so apt reads its proxy from a file.
  [ -z "${http_proxy:-}" ] || echo "Acquire::http::Proxy \"$http_proxy\";" > "$root/etc/apt/apt.conf.d/90proxy"
  if [ -n "$torch" ]; then
    mkdir -p "$root/opt/libtorch"
    cp -a "$(dirname "$torch")/." "$root/opt/libtorch/"
  fi
  local m
  for m in proc:proc dev/shm:tmpfs dev/pts:devpts; do
    local where=$root/${m%:*} type=${m#*:} options=()
    [ "$type" != devpts ] || options=(-o newinstance,ptmxmode=0666)
    mkdir -p "$where"
    mount -t "$type" "${options[@]}" "$type" "$where" && mounted+=("$where") ||
      echo "(no ${m%:*} in there: mounting is not allowed here)"
  done
  ln -sf pts/ptmx "$root/dev/ptmx"
  # The README begins with make and a clone of the repository; git itself is on the list of packages.
  chroot "$root" sh -c 'apt-get -q update && apt-get -q install -y --no-install-recommends make' \
    > "$dir/$1-make.log" 2>&1 || { tail -n 5 "$dir/$1-make.log" >&2; fail "apt-get does not work in the new Debian"; }
  local home=/root
  if [ "$1" = user ]; then
    home=/home/etude
    chroot "$root" sh -c 'apt-get -q install -y --no-install-recommends sudo' >> "$dir/$1-make.log" 2>&1
    chroot "$root" useradd --create-home --shell /bin/bash etude
    echo 'etude ALL=(ALL) NOPASSWD: ALL' > "$root/etc/sudoers.d/etude"
  fi
  git clone --quiet --no-hardlinks "$repository" "$root$home/etude"
  [ "$1" = root ] || chroot "$root" chown -R etude:etude "$home/etude"
  [ "$1" != root ] || chown -R 0:0 "$root$home/etude"
}

run_in() {   # who, command line, prefix...: runs it in the repository's folder as that user
  local who=$1 line=$2
  shift 2
  local home=/root user=root
  [ "$who" = root ] || { home=/home/etude; user=etude; }
  "$@" chroot --userspec="$user:$user" ${who:+$([ "$who" = user ] && echo --groups=etude)} "$dir/$who" \
    /usr/bin/env -i "${environment[@]}" HOME=$home USER=$user /bin/bash -c "cd ~/etude && $line" < /dev/null
}

status=0
summary=()
for w in $whos; do
  make_machine "$w"
  echo "== a bare Debian $(cat "$dir/$w/etc/debian_version"), $(chroot "$dir/$w" dpkg-query -W -f '.' | wc -c) packages"
  for target in $runs; do
    for network in with without; do
      echo
      echo "== $w: make $target, $network network"
      prefix=()
      [ $network = with ] || prefix=(unshare --net)
      start=$(date +%s)
      result=passed
      run_in "$w" "make $target" "${prefix[@]}" 2>&1 | tee "$dir/$w-$target-$network.log" || { result=FAILED; status=1; }
      summary+=("$(printf '%-5s make %-6s %-8s network  %5d s  %s' "$w" "$target" $network $(($(date +%s) - start)) $result)")
      [ $result = passed ] || break
    done
  done
  unmount
  [ -n "$keep" ] || rm -rf "${dir:?}/$w"
done
echo
printf '%s\n' "${summary[@]}"
exit $status
