//! The file of `--config`: the raw settings as TOML.
//!
//! Owns: reading it, and the error about a wrong file. Does not own: the names of the settings ([`super::raw`]).

use super::{ConfigError, RawSettings};
use std::path::Path;

impl RawSettings {
    /// Reads the file of `--config`.
    ///
    /// # Errors
    /// [`ConfigError::Unreadable`] if the file cannot be read, [`ConfigError::File`] if it is no TOML, names an unknown
    /// setting or has a value of a wrong type.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| {
            let problem = error.to_string();
            // serde lists the fifty names that it expects.
            let problem = match problem.split_once(", expected one of ") {
                Some((problem, names)) if problem.contains("unknown field") && names.len() > 200 => {
                    format!("{problem}; `skyhound config` prints every setting")
                }
                _ => problem.trim_end().to_owned(),
            };
            ConfigError::File { path: path.to_owned(), problem }
        })
    }

    /// Returns `true` if the setting has a value here. `setting` is its name without dashes in front.
    pub fn is_set(&self, setting: &str) -> bool {
        toml::Table::try_from(self).is_ok_and(|table| table.contains_key(setting))
    }
}

/// A text or a list of texts, for a repeatable setting that once was a single text.
pub(super) mod one_or_more {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum OneOrMore {
        One(String),
        More(Vec<String>),
    }

    pub(in crate::config) fn serialize<S: Serializer>(texts: &[String], to: S) -> Result<S::Ok, S::Error> {
        match texts {
            [one] => one.serialize(to),
            more => more.serialize(to),
        }
    }

    pub(in crate::config) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Vec<String>, D::Error> {
        Ok(match OneOrMore::deserialize(from)? {
            OneOrMore::One(text) => vec![text],
            OneOrMore::More(texts) => texts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_setting_is_an_error() {
        let error = toml::from_str::<RawSettings>("liste = []").unwrap_err().to_string();
        assert!(error.contains("unknown field `liste`"), "{error}");
    }

    #[test]
    fn former_names_are_accepted() {
        let raw: RawSettings = toml::from_str("lasting-max = 5\nlast-known = \"off\"\n").unwrap();
        assert_eq!((raw.max_persistent, raw.snapshot_file.as_deref()), (Some(5), Some(Path::new("off"))));
        assert!(raw.is_set("max-persistent") && !raw.is_set("timeout"));
    }
}
