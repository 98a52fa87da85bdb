//! What a user may write as a schedule.
//!
//! `'calculated'` (any case) · a duration, groups of digits and a unit (`ms`, `s`, `m`, `h`, `d`, `w`, or a word for one, as
//! in `5 minutes`), where a bare number means seconds · a cron expression of 5 fields, or 6 with leading seconds, or an alias
//! such as `@hourly`, in UTC. Whatever begins with `@` is cron, and so is what has spaces, unless it is short and begins with a
//! number and has letters.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use croner::parser::{CronParser, Seconds, Year};

/// When a stream table should be refreshed.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// Follows from the stream tables that read this one.
    Calculated,
    /// At most this many milliseconds stale.
    Every(u64),
    /// At these points in time.
    Cron(Cron),
}

/// Why a text is not a schedule. Every condition is SQLSTATE 22023.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("schedule must not be empty")]
    Empty,
    #[error("schedule must not be negative: \"{0}\"")]
    Negative(String),
    #[error("unknown unit \"{unit}\" in schedule \"{text}\"")]
    UnknownUnit { text: String, unit: String },
    #[error("schedule \"{0}\" has a number without a unit")]
    MissingUnit(String),
    #[error("schedule \"{0}\" has a unit without a number")]
    MissingNumber(String),
    #[error("schedule \"{0}\" is out of range")]
    OutOfRange(String),
    #[error("invalid cron expression \"{text}\": {reason}")]
    Cron { text: String, reason: String },
    #[error("schedule must be at least {minimum}, got {got}")]
    TooShort { minimum: String, got: String },
}

impl ScheduleError {
    /// What may be written instead.
    pub fn hint(&self) -> &'static str {
        match self {
            ScheduleError::Cron { .. } => {
                "Write five fields (minute hour day month weekday), six with leading seconds, or an alias such as @hourly."
            }
            ScheduleError::TooShort { .. } => {
                "The lower bound is 100ms, or pg_trickle.min_schedule_seconds if that is longer."
            }
            _ => {
                "Write a duration such as '500ms', '30s', '5m' or '1h30m', a cron expression such as '*/5 * * * *', \
                 or 'calculated'."
            }
        }
    }
}

const UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];
/// What each of [`UNITS`] is called in words, in the singular.
const WORDS: [(&str, &str); 8] = [
    ("millisecond", "ms"),
    ("sec", "s"),
    ("second", "s"),
    ("min", "m"),
    ("minute", "m"),
    ("hour", "h"),
    ("day", "d"),
    ("week", "w"),
];
/// No interval is shorter than this, whatever the settings say: a refresh costs about a millisecond.
const FLOOR_MS: u64 = 100;
/// Keeps sums of a time and an interval inside an i64; about 10,000 years.
const CEILING_MS: u64 = 315_576_000_000_000;

impl Schedule {
    /// Refuses an interval below `min_schedule_seconds` and below 100 ms.
    pub fn check_minimum(&self, min_schedule_seconds: u32) -> Result<(), ScheduleError> {
        let Schedule::Every(ms) = self else { return Ok(()) };
        let (minimum, unit) = match min_schedule_seconds {
            0 => (FLOOR_MS, "100ms".to_owned()),
            seconds => (u64::from(seconds) * 1_000, format!("{seconds}s")),
        };
        if *ms < minimum {
            return Err(ScheduleError::TooShort { minimum: unit, got: duration_text(*ms) });
        }
        Ok(())
    }

    /// The text for the catalog, where `'calculated'` is NULL.
    pub fn stored(&self) -> Option<String> {
        match self {
            Schedule::Calculated => None,
            other => Some(other.to_string()),
        }
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(ScheduleError::Empty);
        }
        if trimmed.eq_ignore_ascii_case("calculated") {
            return Ok(Schedule::Calculated);
        }
        let fields = trimmed.split_whitespace().count();
        let has_units =
            trimmed.starts_with(|c: char| c.is_ascii_digit()) && trimmed.contains(|c: char| c.is_ascii_alphabetic());
        if fields < 5 && has_units {
            return parse_duration(trimmed).map(Schedule::Every);
        }
        if trimmed.starts_with('@') || fields > 1 {
            return Cron::parse(trimmed).map(Schedule::Cron);
        }
        parse_duration(trimmed).map(Schedule::Every)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schedule::Calculated => f.write_str("calculated"),
            Schedule::Every(ms) => f.write_str(&duration_text(*ms)),
            Schedule::Cron(cron) => f.write_str(&cron.text),
        }
    }
}

/// Milliseconds of a duration such as `1h30m`.
fn parse_duration(text: &str) -> Result<u64, ScheduleError> {
    if text.starts_with('-') {
        return Err(ScheduleError::Negative(text.to_owned()));
    }
    let out_of_range = || ScheduleError::OutOfRange(text.to_owned());
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (digits, tail) = split_at_first(rest, |c| !c.is_ascii_digit());
        let (unit, tail) = split_at_first(tail, |c| c.is_ascii_digit());
        let unit = unit.trim();
        if digits.is_empty() {
            return Err(if scale(unit).is_some() {
                ScheduleError::MissingNumber(text.to_owned())
            } else {
                ScheduleError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() }
            });
        }
        let scale = match unit {
            "" if digits == text => 1_000,
            "" => return Err(ScheduleError::MissingUnit(text.to_owned())),
            unit => scale(unit)
                .ok_or_else(|| ScheduleError::UnknownUnit { text: text.to_owned(), unit: unit.to_owned() })?,
        };
        let count: u64 = digits.parse().map_err(|_| out_of_range())?;
        total = count.checked_mul(scale).and_then(|ms| total.checked_add(ms)).ok_or_else(out_of_range)?;
        rest = tail;
    }
    if total > CEILING_MS { Err(out_of_range()) } else { Ok(total) }
}

/// Milliseconds of a unit.
fn scale(unit: &str) -> Option<u64> {
    let singular = unit.strip_suffix('s').unwrap_or(unit);
    let short = WORDS.iter().find(|(word, _)| *word == singular).map_or(unit, |(_, short)| short);
    UNITS.iter().find(|(name, _)| *name == short).map(|(_, scale)| *scale)
}

fn split_at_first(text: &str, stop: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(stop).unwrap_or(text.len()))
}

/// The shortest text with the largest units that parses to `ms` again.
fn duration_text(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut rest = ms;
    for (unit, scale) in UNITS.iter().rev() {
        if rest >= *scale {
            text.push_str(&format!("{}{unit}", rest / scale));
            rest %= scale;
        }
    }
    text
}

/// A cron expression, kept as the user wrote it.
#[derive(Clone, Debug)]
pub struct Cron {
    text: String,
    pattern: Box<croner::Cron>,
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Cron {
    fn parse(text: &str) -> Result<Self, ScheduleError> {
        let failure = |reason: String| ScheduleError::Cron { text: text.to_owned(), reason };
        let fields = text.split_whitespace().count();
        if !text.starts_with('@') && !(5..=6).contains(&fields) {
            return Err(failure(format!("expected 5 or 6 fields, got {fields}")));
        }
        let parser = CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let pattern = parser.parse(text).map_err(|error| failure(error.to_string()))?;
        let cron = Cron { text: text.to_owned(), pattern: Box::new(pattern) };
        match cron.next(0) {
            Some(_) => Ok(cron),
            None => Err(failure("such a time never comes".to_owned())),
        }
    }

    /// The first occurrence after `after`, both in milliseconds since 1970; None when there is none within reach.
    pub fn next(&self, after: i64) -> Option<i64> {
        let start = DateTime::<Utc>::from_timestamp_millis(after)?;
        self.pattern.find_next_occurrence(&start, false).ok().map(|at| at.timestamp_millis())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn every(text: &str) -> Result<u64, ScheduleError> {
        match text.parse()? {
            Schedule::Every(ms) => Ok(ms),
            other => panic!("{text} parsed as {other}"),
        }
    }

    #[test]
    fn durations() {
        assert_eq!(every("500ms"), Ok(500));
        assert_eq!(every("1s"), Ok(1_000));
        assert_eq!(every("90"), Ok(90_000));
        assert_eq!(every("1h30m"), Ok(5_400_000));
        assert_eq!(every("2d"), Ok(172_800_000));
        assert_eq!(every("1w1s"), Ok(604_801_000));
        assert_eq!(every("5 s"), Ok(5_000));
        assert_eq!(every("1 second"), Ok(1_000));
        assert_eq!(every("1 hour 30 minutes"), Ok(5_400_000));
        assert_eq!(every("2days"), Ok(172_800_000));
        assert_eq!(every("250 milliseconds"), Ok(250));
    }

    #[test]
    fn refusals() {
        assert_eq!(every(" "), Err(ScheduleError::Empty));
        assert_eq!(every("-5s"), Err(ScheduleError::Negative("-5s".into())));
        assert!(matches!(every("5x"), Err(ScheduleError::UnknownUnit { .. })));
        assert!(matches!(every("soon"), Err(ScheduleError::UnknownUnit { .. })));
        assert!(matches!(every("1.5h"), Err(ScheduleError::UnknownUnit { .. })));
        assert!(matches!(every("2 fortnights"), Err(ScheduleError::UnknownUnit { .. })));
        assert!(matches!(every("1 2 s"), Err(ScheduleError::MissingUnit(_))));
        assert!(matches!(every("m"), Err(ScheduleError::MissingNumber(_))));
        assert!(matches!(every("1h30"), Err(ScheduleError::MissingUnit(_))));
        assert!(matches!(every("99999999999999999999"), Err(ScheduleError::OutOfRange(_))));
        assert!(matches!("* * *".parse::<Schedule>(), Err(ScheduleError::Cron { .. })));
        assert!(matches!("61 * * * *".parse::<Schedule>(), Err(ScheduleError::Cron { .. })));
        assert!(matches!("@sometimes".parse::<Schedule>(), Err(ScheduleError::Cron { .. })));
        assert!(matches!("0 0 0 1 1 * 2030".parse::<Schedule>(), Err(ScheduleError::Cron { .. })));
        let never = "0 0 30 2 *".parse::<Schedule>().unwrap_err();
        assert_eq!(never.to_string(), "invalid cron expression \"0 0 30 2 *\": such a time never comes");
        assert!("0 0 29 2 *".parse::<Schedule>().is_ok());
    }

    #[test]
    fn minimum() {
        assert!(Schedule::Every(500).check_minimum(0).is_ok());
        assert!(Schedule::Every(99).check_minimum(0).is_err());
        let error = Schedule::Every(500).check_minimum(60).unwrap_err();
        assert_eq!(error.to_string(), "schedule must be at least 60s, got 500ms");
    }

    #[test]
    fn calculated_is_stored_as_null() {
        assert_eq!("CALCULATED".parse::<Schedule>(), Ok(Schedule::Calculated));
        assert_eq!(Schedule::Calculated.stored(), None);
        assert_eq!(Schedule::Every(5_400_000).stored().as_deref(), Some("1h30m"));
    }

    #[test]
    fn cron_occurrences() {
        let at = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        let next = |cron: &str, after: &str| match cron.parse().unwrap() {
            Schedule::Cron(cron) => cron.next(at(after)),
            other => panic!("{other}"),
        };
        assert_eq!(next("*/5 * * * *", "2026-01-01T00:02:30Z"), Some(at("2026-01-01T00:05:00Z")));
        assert_eq!(next("*/10 * * * * *", "2026-01-01T00:00:10Z"), Some(at("2026-01-01T00:00:20Z")));
        assert_eq!(next("@hourly", "2026-01-01T00:00:00Z"), Some(at("2026-01-01T01:00:00Z")));
        assert_eq!(next("0 6 * * 1-5", "2026-01-02T07:00:00Z"), Some(at("2026-01-05T06:00:00Z")));
    }

    proptest! {
        #[test]
        fn printing_then_parsing_is_identity(ms in 1u64..10_000_000_000_000) {
            prop_assert_eq!(every(&Schedule::Every(ms).to_string()), Ok(ms));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,12}") {
            let _ = text.parse::<Schedule>();
        }
    }
}
