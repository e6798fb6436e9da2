#!/usr/bin/env bash
# The stack of containers, as the Makefile's targets call it: up, down, logs, ps, scale, demo, reset.
set -euo pipefail
cd "$(dirname "$0")/.."
. docker/lib.sh

SAMPLE=examples/journey-orders.csv
DEMO_ORDERS=20000
WAIT_SECONDS=120

up() {
  choose_mode "${1:-up}"
  need_engine
  local trouble
  for trouble in "$(port_trouble)" "$(secrets_trouble)"; do
    [ -z "$trouble" ] || fail 2 "$trouble"
  done
  [ "$mode" = local ] || make_secrets
  stop_other
  write_token
  chmod a+r docker/role.sql # mounted as it is, for a user with another number
  say "building the image (the first time takes a minute or two)"
  quietly compose build || fail 1 "the image could not be built; see above"
  say "starting the $mode stack"
  start || {
    last_words
    fail 1 "the $mode stack did not come up; see above, and \`make doctor\`"
  }
  say "sending the sample; those of its orders that are there already are duplicates"
  produce "$SAMPLE" --rejects var/sample-rejects.jsonl
  summary
}

down() {
  need_engine
  quietly compose_all down --remove-orphans
  say "stopped. The orders stay: \`make up\` goes on with them, \`make reset\` removes them"
}

logs() {
  need_engine
  local follow=
  if [ -t 1 ]; then
    follow=--follow
    say "following all logs; Ctrl-C ends that, and the containers go on. Of one service: docker compose logs SERVICE"
  fi
  compose_all logs --tail 100 $follow
  [ -n "$follow" ] || say "those were the last lines of each service; on a terminal \`make logs\` follows them"
}

ps() {
  need_engine
  compose_all ps --all
  if [ -n "$(containers)" ]; then
    say "\`make logs\` shows what they say, \`make down\` stops them"
  else
    say "nothing runs; \`make up\` starts it"
  fi
}

scale() {
  local count=${N:-}
  case $count in
    '' | *[!0-9]* | 0*) fail 2 "say how many payment containers: make scale N=4" ;;
  esac
  choose_mode present
  need_engine
  [ "$mode" = redis ] || fail 2 "local mode is one container; PAYMENT_WORKERS=$count QUEUE_MODE=local make up gives it more workers"
  [ -n "$(containers "$(service producer)")" ] || fail 2 "the redis stack does not run; \`make up\` starts it"
  quietly compose up --detach --no-build --no-recreate --no-deps --wait --wait-timeout $WAIT_SECONDS --scale "payment=$count" payment || {
    last_words
    fail 1 "not all of them came up; see above, and \`make ps\`"
  }
  say "$count payment containers run; \`make demo\` gives them work, \`make ps\` lists them"
}

demo() {
  up present
  say "sending ${DEMO_ORDERS} new orders"
  produce --orders $DEMO_ORDERS ${SEED:+--seed "$SEED"}
  in_producer orderly verify
  say "that was the demo in $mode mode. \`make demo\` sends new orders again; with SEED=7 it sends the same ones in either mode"
}

reset() {
  need_engine
  say "this removes every order of the project $project in both modes, and the passwords in $secrets"
  if [ "${YES:-}" != 1 ]; then
    local answer=
    [ -t 0 ] || fail 2 "nobody can be asked here; YES=1 make reset does not ask"
    read -r -p "Remove them? [y/N] " answer
    case $answer in
      y | Y | yes) ;;
      *) fail 1 "nothing was removed" ;;
    esac
  fi
  quietly compose_all down --volumes --remove-orphans
  rm -rf "$secrets" "$token"
  say "removed. \`make up\` begins with an empty ledger and new passwords"
}

# Random and made once; all at once, so that there is never a part of them.
make_secrets() {
  if [ -d "$secrets" ]; then
    has_volume postgres || say "the passwords in $secrets are there, and no ledger: it begins empty"
    renew_redis_conf
    [ -s "$secrets/bank_token" ] || make_bank_token "$secrets"
    return
  fi
  local new="$secrets.new" redis ledger
  redis=$(random) ledger=$(random)
  rm -rf "$new"
  (
    umask 077
    mkdir -p "$new"
    printf '%s' "$redis" >"$new/redis_password"
    redis_conf "$redis" >"$new/redis.conf"
    printf '%s' "$ledger" >"$new/ledger_password"
  )
  make_bank_token "$new"
  # The folder lets nobody else in. The files are mounted one by one, for users with other numbers.
  chmod 444 "$new"/*
  mv "$new" "$secrets"
  say "made new passwords in $secrets"
}

# What the payment workers show the bank. Earlier versions had no bank, and so none.
make_bank_token() { (umask 077 && random >"$1/bank_token.new" && chmod 444 "$1/bank_token.new" && mv -f "$1/bank_token.new" "$1/bank_token"); }

# What Redis has of the services: their password, and that they may neither set it up otherwise, load
# code into it, copy it elsewhere nor end it. RQ looks for itself among the clients.
redis_conf() {
  printf 'user default on >%s ~* &* +@all -@admin +client|list +client|setname\n' "$1"
}

# Earlier versions wrote another one.
renew_redis_conf() {
  local wanted
  wanted=$(redis_conf "$(cat "$secrets/redis_password")")
  [ "$(cat "$secrets/redis.conf")" != "$wanted" ] || return 0
  printf '%s\n' "$wanted" >"$secrets/redis.conf.new"
  chmod 444 "$secrets/redis.conf.new"
  mv -f "$secrets/redis.conf.new" "$secrets/redis.conf"
  [ -z "$(containers "$(service redis)")" ] || quietly compose rm --stop --force redis
}

# API_TOKEN, from the environment or from a file .env. A service reads it when it starts.
write_token() {
  local said
  said=$(compose_token)
  if [ -f "$token" ] && [ "$(cat "$token")" = "$said" ]; then return; fi
  (umask 077 && mkdir -p "${token%/*}")
  rm -f "$token"
  printf '%s' "$said" >"$token"
  chmod 444 "$token"
  [ -z "$(containers "$(service "$(producer_service)")")" ] || quietly compose rm --stop --force "$(producer_service)"
}

compose_token() { compose config --format json | sed -n 's/^ *"x-api-token": "\(.*\)",\{0,1\}$/\1/p'; }

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# Both stacks have the same address, so only one can run.
stop_other() {
  local services="producer payment bank migrate redis postgres" is=redis
  [ "$mode" = redis ] && services=local is=local
  [ -n "$(containers "$(service "${services%% *}")")" ] || return 0
  say "stopping the $is stack; its orders stay"
  # shellcheck disable=SC2086  # one word for each service
  quietly compose_all rm --stop --force $services
}

start() {
  local payments
  [ "$mode" = local ] || ! has_volume postgres || lower_role || return
  # As many as there are, of which some may have ended: `make scale` should outlast `make up`.
  payments=$(containers status=running status=restarting status=exited "$(service payment)" | grep -c . || true)
  [ "$mode" = redis ] && [ "$payments" -gt 1 ] && set -- --scale "payment=$payments"
  quietly compose up --detach --no-build --wait --wait-timeout $WAIT_SECONDS "$@"
}

# Earlier versions made the services' user a superuser; before anybody uses it, it becomes a plain one.
lower_role() {
  quietly compose up --detach --no-build --wait --wait-timeout $WAIT_SECONDS postgres || return
  [ "$(in_ledger -c "SELECT rolsuper FROM pg_roles WHERE rolname = 'orderly'")" = t ] || return 0
  if quietly in_ledger <docker/earlier_role.sql; then
    say "the ledger's user orderly, a superuser until now, is none any more"
  else
    say "the ledger's user orderly is a superuser, as earlier versions made it, and could not be made a plain one; see above. All else works; \`make down\` and \`make up\` try again" >&2
  fi
}

in_ledger() {
  compose exec -T postgres psql --username orderly --dbname orderly --set ON_ERROR_STOP=1 -Atq "$@"
}

# What those containers said last that are not as they should be.
last_words() {
  local name status
  docker ps --all --filter "label=com.docker.compose.project=$project" --format '{{.Names}}|{{.Status}}' |
    while IFS='|' read -r name status; do
      case $status in
        *'(healthy)' | 'Exited (0)'* | Created*) continue ;;
      esac
      say "$name: $status; it said last:"
      docker logs --tail 5 "$name" 2>&1 | sed 's/^/  /'
    done >&2
}

# Takes orders in and waits until they are settled; in redis mode by the workers that run already.
produce() {
  [ "$mode" = local ] || set -- "$@" --workers 0
  in_producer orderly run "$@"
}

in_producer() {
  local terminal=-T
  if [ -t 0 ] && [ -t 1 ]; then terminal=; fi
  compose exec $terminal "$(producer_service)" "$@"
}

summary() {
  local ledger address
  ledger=$(compose config | awk '$1 == "LEDGER_URL:" {print $2; exit}')
  address=$(compose port "$(producer_service)" 8000)
  say "up, and the sample is settled"
  if [ "$mode" = local ]; then
    echo "  mode     local: the whole pipeline in one container"
    echo "  ledger   $ledger in the volume ${project}_local"
  else
    echo "  mode     redis: RQ on Redis between containers, the ledger in PostgreSQL"
    echo "  ledger   $ledger in the volume ${project}_postgres"
  fi
  echo "  address  http://$address, a live page; /docs describes the interface"
  echo "  next     make demo                 20,000 new orders, then the proof"
  [ "$mode" = local ] || echo "           make scale N=4            four payment containers"
  echo "           make logs, make ps        what happens"
  echo "           make down                 stops it, and keeps the orders"
  echo "           docker compose exec $(producer_service) orderly status"
}

# quietly COMMAND...: what it says is of interest on a terminal, or if it fails; and then without what
# compose says of every step.
quietly() {
  local said status=0
  if [ -t 1 ]; then
    "$@" || status=$?
  else
    said=$("$@" 2>&1) || status=$?
    [ $status = 0 ] || grep -vE '^ (Container|Image|Network|Volume) ' <<<"$said" | tail -n 40 >&2
  fi
  return $status
}

case ${1:-} in
  up | down | logs | ps | scale | demo | reset) "$1" ;;
  *) fail 2 "usage: docker/stack.sh up|down|logs|ps|scale|demo|reset" ;;
esac
