//! Types, columns and values of the random schemas. Domains are small, so that rows meet, repeat and vanish.

use rand::Rng;
use rand::seq::IndexedRandom;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One case in so many compares with the clock: what it finds, its seed need not find again.
const CLOCK: u64 = 8;

/// What a case is drawn with.
#[derive(Debug)]
pub(crate) struct Random {
    numbers: ChaCha8Rng,
    /// Its queries may compare with the clock.
    pub(crate) clock: bool,
}

impl Random {
    pub(crate) fn of(seed: u64) -> Random {
        Random { numbers: ChaCha8Rng::seed_from_u64(seed), clock: seed.is_multiple_of(CLOCK) }
    }
}

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        self.numbers.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.numbers.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.numbers.fill_bytes(bytes);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Int,
    Big,
    /// numeric without a scale: 1.0 and 1.00 are equal and print differently.
    Numeric,
    /// numeric(10, 2): equal values print alike.
    Decimal,
    Text,
    Date,
    Bool,
    Float,
    /// [`DEFINITIONS`]
    Mood,
    /// Likewise.
    Pair,
    /// Of integers.
    Array,
    /// jsonb: numbers in it that are equal may print differently.
    Json,
}

use Type::{Array, Big, Bool, Date, Decimal, Float, Int, Json, Mood, Numeric, Pair, Text};

pub(crate) const TYPES: [Type; 12] = [Int, Big, Numeric, Decimal, Text, Date, Bool, Float, Mood, Pair, Array, Json];

/// Of the types that are not built in.
pub(crate) const DEFINITIONS: [&str; 2] =
    ["CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')", "CREATE TYPE pair AS (a int, b text)"];

impl Type {
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Int => "int",
            Big => "bigint",
            Numeric => "numeric",
            Decimal => "numeric(10,2)",
            Text => "text",
            Date => "date",
            Bool => "boolean",
            Float => "float8",
            Mood => "mood",
            Pair => "pair",
            Array => "int[]",
            Json => "jsonb",
        }
    }

    /// Equal values of the type may print differently.
    pub(crate) fn is_coarse(self) -> bool {
        matches!(self, Numeric | Float | Json)
    }

    /// There are `min` and `max` of the type, and they are of it.
    pub(crate) fn has_extremes(self) -> bool {
        !matches!(self, Bool | Pair | Json)
    }

    pub(crate) fn is_number(self) -> bool {
        matches!(self, Int | Big | Numeric | Decimal | Float)
    }

    pub(crate) fn any(random: &mut Random) -> Type {
        *TYPES.choose(random).expect("not empty")
    }

    /// A value that is not NULL, with its type written out where the text alone does not say it.
    pub(crate) fn literal(self, random: &mut Random) -> String {
        let pick = |values: &[&str], random: &mut Random| (*values.choose(random).expect("not empty")).to_string();
        match self {
            Int => format!("{}", random.random_range(-2..6)),
            Big if random.random_bool(0.1) => "3000000000".into(),
            Big => format!("{}::bigint", random.random_range(-2..6)),
            Numeric if random.random_bool(0.02) => "'NaN'::numeric".into(),
            Numeric => pick(&["0", "1", "1.0", "1.00", "2.5", "2.50", "-1.0", "0.1", "3"], random) + "::numeric",
            Decimal => pick(&["0", "1", "1.25", "2.5", "-1.75", "3.33"], random) + "::numeric(10,2)",
            Text => pick(&["''", "'a'", "'A'", "'b'", "'ab'", "'c'"], random) + "::text",
            Date => format!("date '2024-01-0{}'", random.random_range(1..6)),
            Bool => pick(&["true", "false"], random),
            Float if random.random_bool(0.03) => pick(&["'NaN'", "'Infinity'", "'-Infinity'"], random) + "::float8",
            Float => pick(&["0", "'-0'", "0.5", "1.5", "2", "-0.5"], random) + "::float8",
            Mood => pick(&["'sad'", "'ok'", "'happy'"], random) + "::mood",
            Pair => pick(&["'(1,a)'", "'(1,)'", "'(,)'", "'(2,b)'", "'(2,a)'"], random) + "::pair",
            Array => pick(&["'{}'", "'{1}'", "'{1,2}'", "'{NULL,1}'", "'{2,1,3}'"], random) + "::int[]",
            Json => {
                pick(
                    &[
                        "'{\"a\": 1}'",
                        "'{\"a\": 1.0}'",
                        "'1'",
                        "'1.00'",
                        "'[1, \"a\"]'",
                        "'null'",
                        "'{\"a\": \"x\", \"b\": null}'",
                    ],
                    random,
                ) + "::jsonb"
            }
        }
    }

    /// A value, sometimes NULL.
    pub(crate) fn value(self, random: &mut Random) -> String {
        if random.random_bool(0.15) { format!("NULL::{}", self.sql()) } else { self.literal(random) }
    }
}

/// A column that an expression may name.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// How to name it where it is in scope.
    pub(crate) name: String,
    pub(crate) ty: Type,
    /// What it prints as is determined by the query and not just its value.
    pub(crate) exact: bool,
}
