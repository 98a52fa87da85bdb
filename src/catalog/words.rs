//! Words in the catalog that stand for values.

use crate::error::{Error, Result};

/// A refresh mode as the user asked for it. AUTO chooses per refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Auto,
    Full,
    Differential,
}

impl Mode {
    /// Parses a mode, whatever its case; INCREMENTAL is DIFFERENTIAL.
    ///
    /// # Errors
    /// `InvalidArgument` (22023) for any other word.
    pub fn parse(text: &str) -> Result<Mode> {
        match text.to_ascii_uppercase().as_str() {
            "AUTO" => Ok(Mode::Auto),
            "FULL" => Ok(Mode::Full),
            "DIFFERENTIAL" | "INCREMENTAL" => Ok(Mode::Differential),
            "IMMEDIATE" => Err(Error::InvalidArgument {
                message: "refresh_mode IMMEDIATE is not available in this version".into(),
                hint: "Use AUTO, FULL or DIFFERENTIAL with a short schedule such as '100ms'.".into(),
            }),
            _ => Err(Error::InvalidArgument {
                message: format!("unknown refresh_mode \"{text}\""),
                hint: "Use one of AUTO, FULL, DIFFERENTIAL.".into(),
            }),
        }
    }

    /// As `pgt_stream_tables.refresh_mode` shows it: AUTO resolved by what the query allows.
    pub fn stored(self, only_full: bool) -> Mode {
        match self {
            _ if only_full => Mode::Full,
            Mode::Auto => Mode::Differential,
            mode => mode,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Auto => "AUTO",
            Mode::Full => "FULL",
            Mode::Differential => "DIFFERENTIAL",
        }
    }
}

/// Where a stream table stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Initializing,
    Active,
    Suspended,
    Error,
}

impl Status {
    /// # Errors
    /// `InvalidArgument` (22023) for an unknown word.
    pub fn parse(text: &str) -> Result<Status> {
        match text.to_ascii_uppercase().as_str() {
            "INITIALIZING" => Ok(Status::Initializing),
            "ACTIVE" => Ok(Status::Active),
            "SUSPENDED" => Ok(Status::Suspended),
            "ERROR" => Ok(Status::Error),
            _ => Err(Error::InvalidArgument {
                message: format!("unknown status \"{text}\""),
                hint: "Use one of INITIALIZING, ACTIVE, SUSPENDED, ERROR.".into(),
            }),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Initializing => "INITIALIZING",
            Status::Active => "ACTIVE",
            Status::Suspended => "SUSPENDED",
            Status::Error => "ERROR",
        }
    }
}
