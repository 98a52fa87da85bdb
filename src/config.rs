//! The one table of settings: what is written there is registered, readable as a function of its name, and shown with
//! its description, unit and range by `pg_settings`.

use std::ops::RangeInclusive;

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, GucValue, PostgresGucEnum};

/// `pg_trickle.refresh_strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum RefreshStrategy {
    #[name = c"auto"]
    Auto,
    #[name = c"differential"]
    Differential,
    #[name = c"full"]
    Full,
}

/// `pg_trickle.cdc_trigger_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
pub enum CdcTriggerMode {
    #[name = c"statement"]
    Statement,
    #[name = c"row"]
    Row,
}

/// A type that a setting can have, with what bounds its values.
trait Kind: GucValue + Sized + 'static {
    type Bounds;
    fn define(entry: Entry, setting: &'static GucSetting<Self>, bounds: Self::Bounds);
}

/// What every setting has, whatever its type.
struct Entry {
    name: &'static std::ffi::CStr,
    short: &'static std::ffi::CStr,
    long: &'static std::ffi::CStr,
    context: GucContext,
    flags: GucFlags,
}

impl Kind for bool {
    type Bounds = ();
    fn define(e: Entry, setting: &'static GucSetting<Self>, (): ()) {
        GucRegistry::define_bool_guc(e.name, e.short, e.long, setting, e.context, e.flags);
    }
}

impl Kind for i32 {
    type Bounds = RangeInclusive<i32>;
    fn define(e: Entry, setting: &'static GucSetting<Self>, bounds: Self::Bounds) {
        let (min, max) = bounds.into_inner();
        GucRegistry::define_int_guc(e.name, e.short, e.long, setting, min, max, e.context, e.flags);
    }
}

impl Kind for f64 {
    type Bounds = RangeInclusive<f64>;
    fn define(e: Entry, setting: &'static GucSetting<Self>, bounds: Self::Bounds) {
        let (min, max) = bounds.into_inner();
        GucRegistry::define_float_guc(e.name, e.short, e.long, setting, min, max, e.context, e.flags);
    }
}

macro_rules! enum_kind {
    ($($kind:ty),*) => {$(
        impl Kind for $kind {
            type Bounds = ();
            fn define(e: Entry, setting: &'static GucSetting<Self>, (): ()) {
                GucRegistry::define_enum_guc(e.name, e.short, e.long, setting, e.context, e.flags);
            }
        }
    )*};
}
enum_kind!(RefreshStrategy, CdcTriggerMode);

macro_rules! settings {
    ($($name:ident: $kind:ty = $default:expr, $bounds:expr, $context:ident, $unit:expr, $short:literal, $long:literal;)*) => {
        mod storage {
            use super::*;
            $(
                #[allow(non_upper_case_globals)]
                pub(super) static $name: GucSetting<$kind> = GucSetting::<$kind>::new($default);
            )*
        }

        $(
            #[doc = $short]
            #[doc = ""]
            #[doc = $long]
            pub fn $name() -> $kind {
                storage::$name.get()
            }
        )*

        /// Registers every setting; called once, from `_PG_init`.
        pub fn register() {
            $(
                <$kind as Kind>::define(
                    Entry {
                        name: c_name(concat!("pg_trickle.", stringify!($name), "\0")),
                        short: c_name(concat!($short, "\0")),
                        long: c_name(concat!($long, "\0")),
                        context: GucContext::$context,
                        flags: $unit,
                    },
                    &storage::$name,
                    $bounds,
                );
            )*
        }
    };
}

/// No unit.
const PLAIN: GucFlags = GucFlags::empty();

fn c_name(text: &'static str) -> &'static std::ffi::CStr {
    std::ffi::CStr::from_bytes_with_nul(text.as_bytes()).expect("the table's texts contain no NUL")
}

settings! {
    enabled: bool = true, (), Suset, PLAIN,
        "Refreshes stream tables in the background.",
        "Off for a database (ALTER DATABASE ... SET): launcher and scheduler leave that database alone.";
    scheduler_interval_ms: i32 = 1_000, 100..=600_000, Suset, GucFlags::UNIT_MS,
        "Longest time that the scheduler sleeps.",
        "Changes and due times wake it by themselves; this is how often it looks without a reason.";
    min_schedule_seconds: i32 = 0, 0..=86_400, Suset, GucFlags::UNIT_S,
        "Shortest interval that a schedule may have.",
        "0 means no bound beyond 100 ms.";
    default_schedule_seconds: i32 = 1, 1..=86_400, Suset, GucFlags::UNIT_S,
        "Interval of a calculated schedule that no other stream table reads.",
        "A calculated schedule otherwise takes the shortest interval among its readers.";
    max_consecutive_errors: i32 = 3, 1..=100, Suset, PLAIN,
        "Retryable failures in a row after which a stream table is suspended.",
        "Permanent failures set status ERROR at once.";
    differential_max_change_ratio: f64 = 0.15, 0.0..=1.0, Userset, PLAIN,
        "Changed rows per source row above which an AUTO stream table is recomputed.",
        "Decides while nothing is known about this stream table's costs.";
    max_grouping_set_branches: i32 = 64, 1..=65_536, Userset, PLAIN,
        "Grouping sets that one GROUP BY may expand to.",
        "Each set of a ROLLUP, CUBE or GROUPING SETS is stored and maintained by itself.";
    agg_diff_cardinality_threshold: i32 = 1_000, 0..=100_000_000, Userset, PLAIN,
        "Estimated groups of a GROUP BY below which creation warns.",
        "With few groups most changes touch most of them. 0 means no warning.";
    max_parse_depth: i32 = 64, 1..=10_000, Userset, PLAIN,
        "Levels of sub-selects, views and WITH items that a defining query may nest.",
        "A query that nests deeper is refused.";
    max_parse_nodes: i32 = 100_000, 0..=10_000_000, Userset, PLAIN,
        "Parts of an analysed defining query, its views included.",
        "A query that has more is refused. 0 means no limit.";
    max_recursion_depth: i32 = 10_000, 0..=100_000_000, Userset, PLAIN,
        "Steps that a WITH RECURSIVE of a defining query may take.",
        "Data with a cycle can make it endless. 0 means no limit.";
    refresh_strategy: RefreshStrategy = RefreshStrategy::Auto, (), Userset, PLAIN,
        "How AUTO stream tables are refreshed.",
        "auto chooses for each refresh; differential and full override the choice.";
    cdc_trigger_mode: CdcTriggerMode = CdcTriggerMode::Statement, (), Suset, PLAIN,
        "Kind of capture trigger that new sources get.",
        "statement captures once per statement, row once per row.";
    block_source_ddl: bool = true, (), Suset, PLAIN,
        "Refuses to drop columns that stream tables read, and to give them other types.",
        "Off: such a stream table fails at its next refresh, until it is created again.";
    slot_lag_warning_threshold_mb: i32 = 100, 1..=1_048_576, Userset, GucFlags::UNIT_MB,
        "WAL kept for a replication slot of pg_trickle above which health_check() warns.",
        "There is no such slot while triggers capture the changes.";
    max_concurrent_refreshes: i32 = 4, 1..=32, Suset, PLAIN,
        "Refreshes that go on at the same time in one database.",
        "One of them is the scheduler's own; those that take long go to workers. 1 means one after the other.";
    max_dynamic_refresh_workers: i32 = 4, 1..=64, Suset, PLAIN,
        "Refresh workers of all databases together.",
        "They are background workers, of which max_worker_processes is the limit.";
    history_retention_days: i32 = 30, 0..=36_500, Suset, PLAIN,
        "Days that pgtrickle.pgt_refresh_history keeps a refresh.",
        "0 keeps everything.";
}
