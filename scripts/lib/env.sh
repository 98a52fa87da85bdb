# Shared by every script here: where the repository is, where the cache is, who runs the server.
# Sourced, never executed.

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# The cache holds what outlives a clone: a server built from source, cargo's target directory.
# Root's home is closed to the unprivileged user that runs the server, so root's cache is elsewhere.
if [ -z "${PGTRICKLE_CACHE:-}" ]; then
    if [ "$(id -u)" = 0 ]; then PGTRICKLE_CACHE=/var/cache/pg_trickle
    else PGTRICKLE_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/pg_trickle; fi
fi
export PGTRICKLE_CACHE
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PGTRICKLE_CACHE/target}
pgrx_version=0.18.1

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

is_pg18() { [ -x "$1" ] && "$1" --version 2>/dev/null | grep -q '^PostgreSQL 18'; }

# Prints the first PostgreSQL 18 pg_config: $1, PG_CONFIG, the one that setup chose, PATH, the usual places.
find_pg_config() {
    local candidate
    for candidate in "${1:-}" "${PG_CONFIG:-}" "$(cat "$PGTRICKLE_CACHE/pg_config" 2>/dev/null || true)" \
        "$(command -v pg_config || true)" "$PGTRICKLE_CACHE"/postgresql-18*/bin/pg_config \
        /usr/lib/postgresql/18/bin/pg_config /usr/pgsql-18/bin/pg_config /usr/local/pgsql/bin/pg_config \
        /opt/homebrew/opt/postgresql@18/bin/pg_config; do
        if [ -n "$candidate" ] && is_pg18 "$candidate"; then printf '%s\n' "$candidate"; return 0; fi
    done
    return 1
}

# Makes pg_config and PATH visible to what follows; setup must have run.
use_pg() {
    PG_CONFIG=$(find_pg_config "${1:-}") || die "no PostgreSQL 18 found; run scripts/setup first"
    export PG_CONFIG PGRX_PG_CONFIG_PATH=$PG_CONFIG
    PATH=$("$PG_CONFIG" --bindir):$PATH
    export PATH
}

# Test clusters make and drop files by the thousand and live for minutes: memory, where there is enough of it, does that
# in half the time.
use_memory() {
    local free
    free=$(df --output=avail --block-size=1G /dev/shm 2>/dev/null | tail -n 1) || true
    if [ -z "${TMPDIR:-}" ] && [ "${free:-0}" -ge 4 ]; then export TMPDIR=/dev/shm; fi
}

# What cargo-pgrx gives to cargo for the extension. Checks and tests that use it too share build scripts and macros
# with that build instead of compiling them once more.
build_flags=(--config "target.'cfg(all(target_family = \"unix\", not(target_os = \"macos\")))'.rustflags = [\"-C\", \"link-arg=-Wl,--no-gc-sections\"]")
