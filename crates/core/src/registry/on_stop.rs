//! The treatment of entries at a planned stop.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// The treatment of the entries of open connections at a planned stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnStop {
    /// Leaves them to their lease, so that clients reconnect, here or elsewhere, without a gap in DNS.
    #[default]
    Keep,
    /// Removes them at once.
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
