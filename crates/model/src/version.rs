//! Version ranges in the syntax of npm (`1.2.x`, `~1.2`, `>=1 <2`, `1 - 2`, `*`), and versions as labels of a name: `v1`
//! matches every 1.x, `v1-2` every 1.2.x, `v1-2-3` exactly that version.
//!
//! Owns: the one meaning of a range for DNS and for every frontend that has ranges. Does not own: the treatment of
//! instances without a version (the frontend's).

use nodejs_semver::{Range, Version};

/// A range of versions.
///
/// ```
/// use skyhound_model::version::VersionRange;
///
/// let range = VersionRange::parse("~1.2")?;
/// assert!(range.contains("1.2.9") && !range.contains("1.3.0"));
/// # Ok::<(), String>(())
/// ```
#[derive(Debug, Clone)]
pub struct VersionRange(Range);

/// Limit of a range's text, in bytes: the cost of parsing grows faster than the length.
const RANGE_MAX: usize = 256;

impl VersionRange {
    /// Parses a range. A single version is a range too; the empty text contains every version.
    ///
    /// # Errors
    /// A predicate that follows the name of the parameter in a message: `is "one", which is not a version range …`.
    /// Texts over 256 bytes are rejected as well.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() > RANGE_MAX {
            return Err(format!("is {} bytes; the limit for a version range is {RANGE_MAX}", text.len()));
        }
        let range = Range::parse(if text.is_empty() { "*" } else { text });
        range.map(Self).map_err(|_| format!("is {text:?}, which is not a version range such as 1.2.x or >=1 <2"))
    }

    /// Returns true if the range contains a version. No range contains a text that is not a version.
    pub fn contains(&self, version: &str) -> bool {
        Version::parse(version.trim()).is_ok_and(|version| self.0.satisfies(&version))
    }
}

/// A set of versions that a label of a name stands for.
///
/// ```
/// use skyhound_model::version::VersionLabel;
///
/// let label = VersionLabel::parse(b"v1-2").expect("a version label");
/// assert!(label.matches("1.2.3") && !label.matches("1.3.0"));
/// assert_eq!(VersionLabel::parse(b"web"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionLabel {
    major: u64,
    minor: Option<u64>,
    patch: Option<u64>,
}

impl VersionLabel {
    /// Parses a label: `v` and up to three whole numbers, separated by `-`. Returns `None` for any other label.
    pub fn parse(label: &[u8]) -> Option<Self> {
        let mut numbers = str::from_utf8(label).ok()?.strip_prefix('v')?.split('-').map(|number| {
            // The notation of versions: no sign and no leading zeros.
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

    /// Returns true if a version is in the set. A pre-release (`1.2.3-rc.1`) is in none: it matches only where it is
    /// named, and a label cannot name it.
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
        let matches = |label: &str, version: &str| VersionLabel::parse(label.as_bytes()).unwrap().matches(version);
        assert!(
            matches("v1", "1.2.3") && matches("v1-2", "1.2.3") && matches("v1-2-3", "1.2.3") && matches("v0", "0.9.0")
        );
        assert!(!matches("v1", "2.0.0") && !matches("v1-2", "1.3.0") && !matches("v1-2-3", "1.2.4"));
        assert!(!matches("v1", "1.2.3-rc.1") && !matches("v1", "") && !matches("v1", "one"));
        for label in ["v", "1", "v1-", "v-1", "v01", "v1-2-3-4", "va", "v1.2", "v+1", "web"] {
            assert_eq!(VersionLabel::parse(label.as_bytes()), None, "{label}");
        }
    }

    #[test]
    fn ranges_follow_npm() {
        for (range, included, excluded) in [
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
            // A pre-release is in a range only if the range names one of the same version.
            (">=1.2.3-beta.2", "1.2.3-beta.4", "1.2.4-beta.1"),
            ("1.2.x", "1.2.3", "1.2.3-beta"),
        ] {
            let versions = VersionRange::parse(range).unwrap();
            assert!(versions.contains(included), "{range:?} {included:?}");
            assert!(!versions.contains(excluded), "{range:?} {excluded:?}");
        }
        for text in ["one", "1.2.3.4.", ">>1"] {
            assert!(VersionRange::parse(text).is_err(), "{text:?}");
        }
        assert!(VersionRange::parse(&"1 || ".repeat(100)).is_err());
    }
}
