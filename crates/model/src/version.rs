//! Versions, and which of them a range holds: as npm has it (`1.2.x`, `~1.2`, `>=1 <2`, `1 - 2`, `*`).
//!
//! In a name a version is a label, as far as one can be: `v1` is every 1.x, `v1-2` every 1.2.x, `v1-2-3` that one.
//!
//! Owns: that one meaning of a range, for every dialect that has them, and for DNS. Does not own: whether an instance
//! without a version matches (the dialect's).

use nodejs_semver::{Range, Version};

/// A range of versions.
#[derive(Debug, Clone)]
pub struct VersionRange(Range);

/// Longer texts are no range: reading one costs more than its length.
const RANGE_MAX: usize = 256;

impl VersionRange {
    /// Reads a range. A single version is one as well; the empty text is every version.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > RANGE_MAX {
            return Err(format!("is {} bytes; {RANGE_MAX} is the most for a range of versions", text.len()));
        }
        let range = Range::parse(if text.is_empty() { "*" } else { text });
        range.map(Self).map_err(|_| format!("is {text:?}, and that is no range of versions such as 1.2.x or >=1 <2"))
    }

    /// Whether a version is in it. A text that is no version is in none.
    pub fn contains(&self, version: &str) -> bool {
        Version::parse(version.trim()).is_ok_and(|version| self.0.satisfies(&version))
    }
}

/// A version as a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionLabel {
    major: u64,
    minor: Option<u64>,
    patch: Option<u64>,
}

impl VersionLabel {
    /// Reads a label: `v`, and up to three whole numbers with `-` between. `None` for any other.
    pub fn parse(label: &[u8]) -> Option<Self> {
        let mut numbers = str::from_utf8(label).ok()?.strip_prefix('v')?.split('-').map(|number| {
            // As a version writes it: no sign, and no zeros in front.
            let plain = number.bytes().all(|b| b.is_ascii_digit()) && (number.len() == 1 || !number.starts_with('0'));
            number.parse().ok().filter(|_| plain)
        });
        let mut next = || numbers.next();
        let (major, minor, patch) = (next()??, next(), next());
        match (minor, patch, next()) {
            (Some(None), ..) | (_, Some(None), _) | (.., Some(_)) => None,
            _ => Some(Self { major, minor: minor.flatten(), patch: patch.flatten() }),
        }
    }

    /// Whether a version is one of these. What is not released yet (`1.2.3-rc.1`) is only meant where it is named, and
    /// a label cannot name it.
    pub fn matches(&self, version: &str) -> bool {
        Version::parse(version.trim()).is_ok_and(|version| {
            !version.is_prerelease()
                && version.major() == self.major
                && self.minor.is_none_or(|minor| version.minor() == minor)
                && self.patch.is_none_or(|patch| version.patch() == patch)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_labels_match_versions() {
        let holds = |label: &str, version: &str| VersionLabel::parse(label.as_bytes()).unwrap().matches(version);
        assert!(holds("v1", "1.2.3") && holds("v1-2", "1.2.3") && holds("v1-2-3", "1.2.3") && holds("v0", "0.9.0"));
        assert!(!holds("v1", "2.0.0") && !holds("v1-2", "1.3.0") && !holds("v1-2-3", "1.2.4"));
        assert!(!holds("v1", "1.2.3-rc.1") && !holds("v1", "") && !holds("v1", "one"));
        for label in ["v", "1", "v1-", "v-1", "v01", "v1-2-3-4", "va", "v1.2", "v+1", "web"] {
            assert_eq!(VersionLabel::parse(label.as_bytes()), None, "{label}");
        }
    }

    #[test]
    fn ranges_follow_npm() {
        for (range, holds, not) in [
            ("1.2.3", "1.2.3", "1.2.4"),
            ("=1.2.3", "1.2.3", "1.2.2"),
            ("1.2.x", "1.2.9", "1.3.0"),
            ("1.2", "1.2.0", "1.3.0"),
            ("1", "1.9.9", "2.0.0"),
            ("~1.2", "1.2.5", "1.3.0"),
            ("~1.2.3", "1.2.9", "1.2.2"),
            ("^1.2.3", "1.9.0", "2.0.0"),
            ("^0.2.3", "0.2.9", "0.3.0"),
            (">=1 <2", "1.5.0", "2.0.0"),
            (">1.2.3", "1.2.4", "1.2.3"),
            ("<=1.2.3", "1.2.3", "1.2.4"),
            ("1.2.3 - 2.3.4", "2.3.4", "2.3.5"),
            ("1.x || >=3.0.0", "3.1.0", "2.0.0"),
            ("*", "0.0.1", "none"),
            ("", "7.0.0", "7"),
            ("x", "7.0.0", ""),
            // A version that is not out yet is only meant where one is named.
            (">=1.2.3-beta.2", "1.2.3-beta.4", "1.2.4-beta.1"),
            ("1.2.x", "1.2.3", "1.2.3-beta"),
        ] {
            let versions = VersionRange::parse(range).unwrap();
            assert!(versions.contains(holds), "{range:?} {holds:?}");
            assert!(!versions.contains(not), "{range:?} {not:?}");
        }
        for none in ["one", "1.2.3.4.", ">>1"] {
            assert!(VersionRange::parse(none).is_err(), "{none:?}");
        }
        assert!(VersionRange::parse(&"1 || ".repeat(100)).is_err());
    }
}
