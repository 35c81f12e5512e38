#!/usr/bin/env bash
# A Docker engine for a machine that has none, in namespaces of its own: its bridges, rules and settings never touch the
# machine's, and when its first process ends, the kernel removes all the others, every mount and every interface.
#
# usage: docker.sh up                    starts it, unless an engine answers already
#        docker.sh run -- COMMAND...     runs a command where its containers can be reached
#        docker.sh down                  ends it, with its containers; images are kept
# Its files are in $ONEHOP_OFFLINE (default: onehop/offline in the cache home).
set -euo pipefail
# shellcheck source=lib.sh
source "$(dirname "$(realpath "$0")")/lib.sh"
dir=$offline/docker
debs=$dir/debs/root

# Unpacks Docker's packages, and installs nothing. dockerd is trixie's (26.1): bookworm's 20.10 cannot run privileged
# containers where a capability is missing. containerd and runc are of this machine's release: they need its C library.
fetch() {
  [ ! -x "$debs/usr/sbin/dockerd" ] || return 0
  need apt-get=apt dpkg=dpkg
  local release uri apt=$dir/debs/apt
  release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  grep -qx 'ID=debian' /etc/os-release || fail 'this is no Debian; install a Docker engine from its own packages'
  uri=$(mirror)
  rm -rf "$dir/debs"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$debs.partial"
  local suite
  for suite in trixie "$release"; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main"
  done | sort -u >"$apt/sources.list"
  local options=(-qq -o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o Acquire::Languages=none)
  apt-get "${options[@]}" update || fail "cannot read the package lists of $uri"
  local packages=(docker.io/trixie docker-cli/trixie "containerd/$release" "runc/$release")
  (cd "$dir/debs" && apt-get "${options[@]}" download "${packages[@]}") ||
    fail 'cannot download the packages of Docker'
  local deb
  for deb in "$dir"/debs/*.deb; do dpkg -x "$deb" "$debs.partial"; done
  mv "$debs.partial" "$debs"
  rm -rf "$apt" "$dir"/debs/*.deb
}

# The commands that `run` offers: docker, kind, kubectl.
link() {
  mkdir -p "$offline/bin"
  local kubectl
  kubectl=$(printf '%s\n' "$tools"/node/v*/kubectl | sort -V | tail -n 1)
  [ ! -x "$debs/usr/bin/docker" ] || ln -sfn "$debs/usr/bin/docker" "$offline/bin/docker"
  [ ! -x "$tools/kind/$kind_version/kind" ] || ln -sfn "$tools/kind/$kind_version/kind" "$offline/bin/kind"
  [ ! -x "$kubectl" ] || ln -sfn "$kubectl" "$offline/bin/kubectl"
}

up() {
  if use_engine; then
    if engine_pid >/dev/null; then
      echo "the engine is up: ${0##*/} run -- docker info"
    else
      echo 'a Docker engine answers already, so this one is not needed'
    fi
    return
  fi
  [ "$(id -u)" = 0 ] || fail 'only root can start a Docker engine'
  need unshare=util-linux nsenter=util-linux flock=util-linux ip=iproute2 iptables=iptables
  mkdir -p "$dir"
  exec 9>"$dir/lock"
  flock 9
  fetch
  link
  # Each node takes a score of these, and the usual 128 are for all of a user's processes: kubelet and kube-proxy of a
  # second cluster then end with "too many open files". The kernel has no such limit for a namespace.
  local limit=/proc/sys/fs/inotify/max_user_instances
  if [ "$(cat "$limit")" -lt 1024 ]; then echo 1024 >"$limit"; fi
  local pid
  if ! pid=$(engine_pid); then
    # After a kill, the numbers in these files would name other processes of the new namespace.
    rm -f "$dir"/docker.sock "$dir"/dockerd.pid "$dir"/exec/containerd/containerd.pid
    # This process keeps its number through every exec, so it is in the network namespace that `run` enters.
    # Mounts of the machine come in, none goes out.
    # shellcheck disable=SC2016 # the inner shell's
    setsid unshare --net bash -c 'exec unshare --mount --propagation slave --pid --fork --kill-child --mount-proc \
      bash "$0" engine "$1" "onehop-docker-$$"' "$(realpath "$0")" "$dir" >"$dir/dockerd.log" 2>&1 </dev/null 9>&- &
    pid=$!
    echo "$pid" >"$dir/pid"
  fi
  for _ in $(seq 300); do
    use_engine && break
    [ -e "/proc/$pid" ] || fail "the engine ended: $(tail -n 3 "$dir/dockerd.log")"
    sleep 0.1
  done
  use_engine || fail "the engine does not answer; see $dir/dockerd.log"
  echo "the engine is up: ${0##*/} run -- docker info"
}

# The first process of the namespaces. bash reaps the processes that containers leave behind, which dockerd does not.
engine() {
  local dir=$1 cgroup=$2
  ip link set lo up
  # kind's network has IPv6 whatever the machine's own settings are.
  for interface in all default; do echo 0 >"/proc/sys/net/ipv6/conf/$interface/disable_ipv6"; done
  echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
  # A containerd of the machine is not to be found, and sockets of containers leave no file.
  mkdir -p /run/containerd
  mount -t tmpfs tmpfs /run/containerd
  # The driver is named because systemd would put containers where `down` does not find them.
  PATH=$debs/usr/sbin:$debs/usr/bin:$PATH dockerd --data-root "$dir/data" --exec-root "$dir/exec" -p "$dir/dockerd.pid" \
    -H "unix://$dir/docker.sock" --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$cgroup" &
  trap 'kill $!' TERM
  wait $! || wait $!
}

down() {
  local pid said='the engine is not up'
  if pid=$(engine_pid); then
    if use_engine; then
      docker ps -aq | timeout 60 xargs -r docker rm -fv >/dev/null || true
    fi
    kill "$(cat "/proc/$pid/task/$pid/children")" 2>/dev/null || true
    for _ in $(seq 150); do
      [ -e "/proc/$pid" ] || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    rm -f "$dir/pid" "$dir/docker.sock"
    said='the engine is down'
  fi
  sweep
  echo "$said"
}

# Removes the cgroups of engines that are gone: they have no namespace with which the kernel would remove them.
sweep() {
  local cgroup
  for cgroup in /sys/fs/cgroup/{,*/}onehop-docker-*; do
    if [ ! -d "$cgroup" ] || [ -e "/proc/${cgroup##*-}" ]; then continue; fi
    for _ in $(seq 50); do # processes that were killed take a moment to leave
      find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
      [ -d "$cgroup" ] || break
      sleep 0.1
    done
  done
}

run() {
  [ "${1:-}" != -- ] || shift
  [ $# -gt 0 ] || fail 'run what? docker.sh run -- COMMAND...'
  link
  use_engine || fail "no Docker engine answers; start one: $0 up"
  local pid
  if pid=$(engine_pid); then
    exec nsenter --net="/proc/$pid/ns/net" "$@"
  fi
  exec "$@"
}

command=${1:-}
[ $# -eq 0 ] || shift
case $command in
  up | down | run | engine) "$command" "$@" ;;
  *) fail 'usage: docker.sh up | docker.sh run -- COMMAND... | docker.sh down' ;;
esac
