//! What a failed refresh means for the next one.
//!
//! The SQLSTATE decides, never the message text, which depends on the server's language.

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Goes away by itself: serialization failure, deadlock, lock timeout, connection, cancellation, and the unknown.
    Retryable,
    /// Comes back until somebody changes the data or the definition.
    Permanent,
    /// A missing right: retried, but it never suspends the stream table, since a GRANT is all it takes.
    NotCounted,
}

/// Classifies the five characters of an SQLSTATE.
pub fn classify(sqlstate: &str) -> Failure {
    match sqlstate {
        "42501" => Failure::NotCounted,
        "55P03" | "57014" => Failure::Retryable,
        _ => match sqlstate.get(..2) {
            Some("42" | "23" | "22" | "28") => Failure::Permanent,
            _ => Failure::Retryable,
        },
    }
}

/// What becomes of the stream table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stays ACTIVE and is tried again after a back-off.
    Retry,
    /// Status SUSPENDED: too many retryable failures in a row.
    Suspend,
    /// Status ERROR: a permanent failure.
    Fail,
}

/// `consecutive_errors` counts this failure too, if it counts.
pub fn verdict(failure: Failure, consecutive_errors: i32, max_consecutive_errors: i32) -> Verdict {
    match failure {
        Failure::Permanent => Verdict::Fail,
        Failure::Retryable if consecutive_errors >= max_consecutive_errors => Verdict::Suspend,
        Failure::Retryable | Failure::NotCounted => Verdict::Retry,
    }
}

const BASE_MS: f64 = 1_000.0;
const MAX_MS: f64 = 60_000.0;
const JITTER: f64 = 0.25;

/// The pause before the next try after `failures` failures in a row (1 = the first): doubling from 1 s to 60 s, and
/// ±25 % so that stream tables that failed together do not come back together. `random` is uniform in [0, 1).
pub fn backoff_ms(failures: u32, random: f64) -> u64 {
    let doublings = i32::try_from(failures.saturating_sub(1)).unwrap_or(i32::MAX).min(16);
    let pause = (BASE_MS * 2f64.powi(doublings)).min(MAX_MS);
    (pause * (1.0 + JITTER * (2.0 * random - 1.0))) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for retryable in ["40001", "40P01", "08006", "55P03", "57014", "XX000", "53200", ""] {
            assert_eq!(classify(retryable), Failure::Retryable, "{retryable}");
        }
        for permanent in ["42P01", "42703", "23505", "22012", "28000"] {
            assert_eq!(classify(permanent), Failure::Permanent, "{permanent}");
        }
        assert_eq!(classify("42501"), Failure::NotCounted);
    }

    #[test]
    fn verdicts() {
        assert_eq!(verdict(Failure::Retryable, 2, 3), Verdict::Retry);
        assert_eq!(verdict(Failure::Retryable, 3, 3), Verdict::Suspend);
        assert_eq!(verdict(Failure::Permanent, 1, 3), Verdict::Fail);
        assert_eq!(verdict(Failure::NotCounted, 100, 3), Verdict::Retry);
    }

    #[test]
    fn pauses_double_up_to_a_minute() {
        assert_eq!(backoff_ms(1, 0.5), 1_000);
        assert_eq!(backoff_ms(3, 0.5), 4_000);
        assert_eq!(backoff_ms(1_000_000, 0.5), 60_000);
        assert_eq!(backoff_ms(1, 0.0), 750);
        assert!(backoff_ms(7, 0.999) <= 75_000);
    }
}
