# What stack.sh and doctor.sh share. It keeps to what the bash 3.2 of macOS knows.

project=${COMPOSE_PROJECT_NAME:-orderly}
secrets=.secrets/$project
token=$secrets.api_token
unset COMPOSE_PROFILES # QUEUE_MODE chooses

say() { printf 'orderly: %s\n' "$*"; }

# fail CODE MESSAGE: the codes are those of the orderly command.
fail() {
  local code=$1
  shift
  say "$@" >&2
  exit "$code"
}

compose() { docker compose --profile "$mode" "$@"; }
compose_all() { docker compose --profile redis --profile local "$@"; }

# containers [FILTER...]: the ids of this project's containers.
containers() {
  local each
  for each in "$@"; do
    set -- "$@" --filter "$each"
    shift
  done
  docker ps --quiet --filter "label=com.docker.compose.project=$project" "$@"
}

service() { printf 'label=com.docker.compose.service=%s' "$1"; }

has_volume() { docker volume inspect "${project}_$1" >/dev/null 2>&1; }

# The service that takes orders in.
producer_service() { [ "$mode" = local ] && echo local || echo producer; }

# choose_mode up|present: QUEUE_MODE; where it is not set, redis, or for `present` what runs.
choose_mode() {
  mode=${QUEUE_MODE:-}
  case $mode in
    local | redis) return ;;
    '') mode=redis ;;
    *) fail 2 "QUEUE_MODE='$mode' is not known; choose local or redis" ;;
  esac
  if [ "$1" = present ] && [ -n "$(containers "$(service local)")" ]; then mode=local; fi
}

# What is wrong with the engine, in a line; nothing if it can be used.
engine_trouble() {
  local answer
  if ! command -v docker >/dev/null; then
    echo "docker is not installed; install Docker with its Compose plugin, or use \`make run\`, which needs no containers"
  elif ! answer=$(docker info 2>&1); then
    case $answer in
      *'permission denied'*) echo "the Docker engine may not be used by you; join the group docker and log in again" ;;
      *) echo "the Docker engine does not answer; start it (Docker Desktop, or the docker service), or use \`make run\`, which needs no containers" ;;
    esac
  elif ! docker compose version >/dev/null 2>&1; then
    echo "docker has no Compose; install its plugin (the package docker-compose-plugin or docker-compose-v2)"
  fi
}

need_engine() {
  local trouble
  trouble=$(engine_trouble)
  [ -z "$trouble" ] || fail 3 "$trouble"
}

# The port on this machine; compose knows it from the environment or from a file .env.
published_port() { compose config | sed -n 's/^ *published: "\{0,1\}\([0-9]*\).*/\1/p' | head -n 1; }

# What is wrong with the port, in a line; nothing if it can be had, or is ours.
port_trouble() {
  local port holder
  port=$(published_port)
  [ "$port" != 0 ] || return 0
  # One that starts again and again has the port for moments, and is listed without it.
  [ -z "$(containers "publish=$port")$(containers status=restarting)" ] || return 0
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
  holder=$(docker ps --filter "publish=$port" --format '{{.Names}}' | head -n 1)
  echo "port $port on 127.0.0.1 is taken${holder:+ by the container $holder}; choose another one: HTTP_PORT=$((port + 1)) make up"
}

# What is wrong with the secrets, in a line; nothing if they are there or can be made.
secrets_trouble() {
  [ "$mode" = redis ] || return 0
  if [ -d "$secrets" ]; then
    local file
    for file in redis_password redis.conf ledger_password; do
      [ -s "$secrets/$file" ] && continue
      echo "$secrets/$file is missing; put it back, or let \`make reset\` remove what is left, the orders too"
      return
    done
  elif has_volume postgres; then
    echo "the ledger ${project}_postgres is there, but its password in $secrets is not; put that folder back, or choose another COMPOSE_PROJECT_NAME, or let \`make reset\` remove the ledger, too"
  fi
}
