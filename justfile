# Every recipe is a script, which works without just.

# Make this machine ready: PostgreSQL 18, cargo-pgrx
setup *args:
    scripts/setup {{args}}

# Build and install into a server
install *args:
    scripts/install {{args}}

# Check and test everything; `just test --fuzz 30` goes on with random cases
test *args:
    scripts/test {{args}}

# A private server with live stream tables
demo *args:
    scripts/demo {{args}}

# Side by side with REFRESH MATERIALIZED VIEW and pg_ivm
bench *args:
    scripts/bench {{args}}

# Corpora of queries as stream tables: TPC-H, Nexmark, composed ones; `just corpus regress` takes PostgreSQL's own
corpus *args:
    scripts/corpus {{args}}
