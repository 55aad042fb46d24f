//! The parameters of `/v1`: `service=web,api&version=^1.2&category=services` → [`Query`].
//!
//! As in [`crate::form`], a parameter without a value counts as absent, unknown ones are ignored, and an ambiguous one is
//! rejected with an error that names it. [`crate::form::Form`] itself does not fit, because `service` may be repeated.

use crate::form::decode;
use skyhound_core::events::Selection;
use skyhound_model::instance::InvalidParameter;
use skyhound_model::version::VersionRange;

const PARAMETERS: [&str; 4] = ["service", "version", "category", "last-event-id"];

/// A parsed query.
#[derive(Debug, Default)]
pub struct Query {
    /// Services, in lower case; none means all.
    pub services: Vec<String>,
    /// Range of versions.
    pub version: Option<VersionRange>,
    /// Categories, as in the name from left to right.
    pub category: Option<String>,
    /// Resume token of a watch.
    pub last_event_id: Option<String>,
}

impl Query {
    /// Parses a query.
    pub fn parse(query: &str) -> Result<Self, InvalidParameter> {
        let mut parsed = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).map_err(|problem| InvalidParameter::new("query", problem))?;
            let Some(parameter) = PARAMETERS.into_iter().find(|parameter| *parameter == name) else { continue };
            let value = decode(value).map_err(|problem| InvalidParameter::new(parameter, problem))?;
            if value.is_empty() {
                continue;
            }
            let repeated = match parameter {
                "service" => {
                    parsed.services.extend(value.split(',').filter(|s| !s.is_empty()).map(str::to_ascii_lowercase));
                    false
                }
                "version" => parsed
                    .version
                    .replace(VersionRange::parse(&value).map_err(|e| InvalidParameter::new(parameter, e))?)
                    .is_some(),
                "category" => parsed.category.replace(dotted(&value)).is_some(),
                _ => parsed.last_event_id.replace(value).is_some(),
            };
            if repeated {
                return Err(InvalidParameter::new(parameter, "is given twice"));
            }
        }
        parsed.services.sort_unstable();
        parsed.services.dedup();
        Ok(parsed)
    }

    /// The services as a selection of [`skyhound_core::events`].
    pub fn selection(&self) -> Selection {
        if self.services.is_empty() { Selection::All } else { Selection::Services(self.services.clone()) }
    }
}

/// Normalizes `a,b`, `a.b` and `A.B` to `a.b`.
pub(super) fn dotted(categories: &str) -> String {
    categories.replace(',', ".").to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(query: &str) -> String {
        Query::parse(query).unwrap_err().to_string()
    }

    #[test]
    fn parameters_are_read() {
        let parsed = Query::parse("service=Web,api&service=db&x=%zz&version=&category=A,b&last-event-id=7").unwrap();
        assert_eq!(parsed.services, ["api", "db", "web"]);
        assert_eq!((parsed.category.as_deref(), parsed.last_event_id.as_deref()), (Some("a.b"), Some("7")));
        assert!(parsed.version.is_none());
        assert_eq!(Query::parse("").unwrap().selection(), Selection::All);
    }

    #[test]
    fn invalid_parameters_are_rejected_with_a_reason() {
        assert!(error_of("version=new").starts_with("version is \"new\", which is not a version range"));
        assert_eq!(error_of("version=1&version=1"), "version is given twice");
        assert_eq!(error_of("category=a&category=a"), "category is given twice");
        assert_eq!(error_of("service=%4"), "service is \"%4\", where a '%' is not followed by two hex digits");
    }

    #[test]
    fn a_version_is_one_or_a_range_as_in_npm() {
        let fits = |range: &str, version: &str| {
            let range = Query::parse(&format!("version={range}")).unwrap().version.unwrap();
            range.contains(version)
        };
        assert!(fits("1.2.3", "1.2.3") && !fits("1.2.3", "1.2.4"), "a single version is exact");
        assert!(fits("%5E1.2", "1.9.0") && !fits("^1.2", "2.0.0"));
        assert!(fits("1.x", "1.0.0") && fits("1+-+2", "2.9.9") && fits("%3C1%7C%7C%3E%3D3", "3.0.0"));
        assert!(!fits("^1.2", "1.3.0-rc.1"), "a range has no prereleases");
    }
}
