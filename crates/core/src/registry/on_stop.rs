//! The fate of entries at a planned stop.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// What becomes of the entries of held connections at a planned stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// They stay for their lease, so that clients come back, here or elsewhere, without a gap in DNS.
    #[default]
    Keep,
    /// They are removed at once.
    Remove,
}

impl OnStop {
    /// The values of a setting that parses to one of these.
    pub const VALUES: [&'static str; 2] = ["keep", "remove"];
}

impl FromStr for OnStop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "keep" => Ok(Self::Keep),
            "remove" => Ok(Self::Remove),
            other => Err(format!("{other:?} is neither keep nor remove")),
        }
    }
}
