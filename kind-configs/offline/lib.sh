# What the scripts of this folder share. It is sourced.
# shellcheck shell=bash disable=SC2034 # its variables are used by whoever sources it

cache=${XDG_CACHE_HOME:-$HOME/.cache}/onehop
tools=$cache/tools                             # what `onehop tools install` built
offline=${ONEHOP_OFFLINE:-$cache/offline}      # one engine and its images for each such folder
kind_version=v0.33.0

# Exit code 2 is onehop's as well for what could not be tried.
fail() {
  echo "${0##*/}: $*" >&2
  exit 2
}

# need PROGRAM=PACKAGE...
need() {
  local pair missing=()
  for pair; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -eq 0 ] || fail "missing; install the packages: ${missing[*]}"
}

# Debian's packages come from where this machine has its own.
mirror() {
  local found=${ONEHOP_DEBIAN_MIRROR:-}
  if [ -z "$found" ] && grep -qx 'ID=debian' /etc/os-release; then
    # shellcheck disable=SC2016 # apt's own variable
    found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | sed -n 1p)
  fi
  [ -n "$found" ] || fail 'set ONEHOP_DEBIAN_MIRROR to the address of a Debian mirror'
  echo "$found"
}

# The process that holds the namespaces of this folder's engine, or failure if it is not up.
engine_pid() {
  local pid
  pid=$(cat "$offline/docker/pid" 2>/dev/null) || return 1
  # The number may be another process's by now.
  tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF "$offline/docker" || return 1
  echo "$pid"
}

# Makes `docker` speak to this folder's engine, or else to one that the machine has; fails if there is none.
use_engine() {
  PATH=$offline/bin:$PATH
  if engine_pid >/dev/null; then
    export DOCKER_HOST=unix://$offline/docker/docker.sock
  fi
  docker info >/dev/null 2>&1
}
