//! The graph of stream tables: levels, cycles, schedules and due times.
