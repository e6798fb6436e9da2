#!/usr/bin/env bash
# Says what `make up` needs, whether it is there, and what to do if not. Changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
. docker/lib.sh

NEEDED_MIB=2048
NEEDED_DISK_MIB=3072
OLDEST_COMPOSE=2.20

missing=0

# report WHAT TROUBLE GOOD: a line for one thing that was looked at.
report() {
  if [ -n "$2" ]; then
    printf '  %-9s MISSING  %s\n' "$1" "$2"
    missing=$((missing + 1))
  else
    printf '  %-9s ok       %s\n' "$1" "$3"
  fi
}

# warn WHAT TROUBLE: a line for one thing that works, and that is not as it should be.
warn() { printf '  %-9s WARNING  %s\n' "$1" "$2"; }

CARELESS="select string_agg(name || '=off', ', ') from pg_settings where name in ('fsync', 'full_page_writes') and setting = 'off'"

# What may lose the commits of the stack's ledger in a power cut, or of one that LEDGER_URL names.
stack_careless() {
  [ -n "$(containers "$(service postgres)")" ] || return 0
  compose exec -T postgres psql -U orderly -d orderly -Atc "$CARELESS" 2>/dev/null || true
}
own_careless() {
  case ${LEDGER_URL:-} in postgres*) ;; *) return 0 ;; esac
  command -v psql >/dev/null || return 0
  if [ -n "${LEDGER_PASSWORD_FILE:-}" ]; then
    PGPASSWORD=$(cat "$LEDGER_PASSWORD_FILE") && export PGPASSWORD
  fi
  PGCONNECT_TIMEOUT=5 psql "$LEDGER_URL" -Atc "$CARELESS" 2>/dev/null || true
}
check_ledger() {
  [ -z "$1" ] || warn ledger "PostgreSQL has $1: a power cut may lose orders, or all of it; set it on"
}

compose_trouble() {
  local have
  have=$(docker compose version --short)
  have=${have#v}
  [ "$(printf '%s\n%s\n' "$OLDEST_COMPOSE" "$have" | sort -t . -k 1,1n -k 2,2n | head -n 1)" = "$OLDEST_COMPOSE" ] ||
    echo "Compose is $have, and $OLDEST_COMPOSE is needed; update its plugin"
}

memory_trouble() {
  [ "$memory" -ge "$NEEDED_MIB" ] ||
    echo "the engine has $memory MiB, the stack wants $NEEDED_MIB; give it more (Docker Desktop: Settings, Resources), or QUEUE_MODE=local make up"
}

disk_trouble() {
  [ "$disk" -ge "$NEEDED_DISK_MIB" ] ||
    echo "$disk MiB are free in $root, and $NEEDED_DISK_MIB are wanted; make room, for instance with docker image prune"
}

images_here() {
  local image absent=
  for image in "${PYTHON_IMAGE:-python:3.11-slim-bookworm}" $(compose config --images | grep -v '^orderly'); do
    docker image inspect "$image" >/dev/null 2>&1 || absent="$absent $image"
  done
  if [ -n "$absent" ]; then echo "will be pulled:$absent"; else echo "all base images are here"; fi
}

choose_mode up
trouble=$(engine_trouble)
report engine "$trouble" "$(docker version --format '{{.Server.Version}}' 2>/dev/null || true)"
if [ -z "$trouble" ]; then
  choose_mode present
  report compose "$(compose_trouble)" "$(docker compose version --short)"
  memory=$(($(docker info --format '{{.MemTotal}}') / 1048576))
  report memory "$(memory_trouble)" "$memory MiB"
  # Of an engine in a virtual machine the folder is not to be seen from here.
  root=$(docker info --format '{{.DockerRootDir}}')
  [ -d "$root" ] || root=.
  disk=$(df -Pm "$root" | awk 'NR == 2 {print $4}')
  report disk "$(disk_trouble)" "$disk MiB free in $root"
  report images "" "$(images_here)"
  report port "$(port_trouble)" "$(published_port) on 127.0.0.1 is free, or ours"
  report secrets "$(secrets_trouble)" "$(if [ -d "$secrets" ]; then echo "in $secrets"; else echo "will be made in $secrets"; fi)"
  check_ledger "$(stack_careless)"
fi
check_ledger "$(own_careless)"
[ "$missing" = 0 ] || fail 1 "$missing missing; see to the lines above, then \`make up\`"
say "nothing is missing for $mode mode; \`make up\` starts it"
