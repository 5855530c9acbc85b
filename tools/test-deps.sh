#!/usr/bin/env bash
# Installs the programs that the tests talk to, where this may be done: on a
# Debian-like machine, as root. Elsewhere it says what to install. It never
# fails: a test that misses its program says so itself.
set -euo pipefail

have() { command -v "$1" >/dev/null 2>&1; }

root=$(cd "$(dirname "$0")/.." && pwd)
packages=() reasons=()
need() { # need PACKAGE WHY
  packages+=("$1")
  reasons+=("  $1: $2")
}

have redis-server || need redis-server "tests compare our Redis door with the real one"
have redis-cli || need redis-tools "tests talk to our Redis door with redis-cli"
have etcd || [ -x /usr/sbin/etcd ] || need etcd-server "the tests of the benchmark start it beside our nodes"
promtool=
if ! have promtool && [ ! -x "$root/.bin/promtool" ]; then
  promtool=missing
  reasons+=("  promtool, of the package prometheus: it tests the alert rules")
fi
# Compose matters only where an engine answers; the test says so otherwise.
if have docker && docker info >/dev/null 2>&1; then
  docker compose version >/dev/null 2>&1 || have docker-compose ||
    need docker-compose "the Compose test brings three nodes up in containers"
fi
[ ${#reasons[@]} -gt 0 ] || exit 0

if ! have apt-get || [ "$(id -u)" -ne 0 ]; then
  {
    echo "!! Not installed, and needed by some tests:"
    printf '%s\n' "${reasons[@]}"
    echo "!! On Debian or Ubuntu: sudo apt-get install ${packages[*]} ${promtool:+prometheus}"
  } >&2
  exit 0
fi

# The tests start their own servers: a package must not start one of its own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
fi

echo "installing for the tests: ${packages[*]} ${promtool:+promtool}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
apt-get update >"$log" 2>&1 || true # an old package list may still do
for p in "${packages[@]}"; do
  if apt-get install -y --no-install-recommends "$p" >>"$log" 2>&1; then
    echo "installed $p"
  else
    tail -n 20 "$log" >&2
    echo "!! COULD NOT INSTALL $p; the tests that need it will say so (apt-get's log: $log)" >&2
  fi
done

# Of Prometheus the tests need one tool and no service: it goes to .bin.
get_promtool() {
  local dir got=0
  dir=$(mktemp -d)
  chmod 755 "$dir" # apt downloads as a user of its own
  (cd "$dir" && apt-get download prometheus && dpkg-deb -x prometheus_*.deb . &&
    install -D usr/bin/promtool "$root/.bin/promtool") || got=1
  rm -rf "$dir"
  return $got
}
if [ -n "$promtool" ]; then
  if get_promtool >>"$log" 2>&1; then
    echo "installed promtool into .bin"
  else
    tail -n 20 "$log" >&2
    echo "!! COULD NOT GET promtool; the tests of the alert rules will say so (apt-get's log: $log)" >&2
  fi
fi
