//! The chain of an error's sources.

use std::error::Error;

/// Returns the sources of an error, from the nearest to the root cause.
pub fn sources<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&source| source.source())
}

/// Formats an error and its sources in one line, separated by `": "`.
///
/// ```
/// let broken = std::io::Error::other("broken pipe");
/// assert_eq!(skyhound_base::errors::with_sources(&broken), "broken pipe");
/// ```
pub fn with_sources(error: &(dyn Error + 'static)) -> String {
    sources(error).fold(error.to_string(), |line, source| format!("{line}: {source}"))
}

/// Returns the text of the last source, or of the error itself if it has none.
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    sources(error).last().unwrap_or(error).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    #[derive(Debug)]
    struct Outer(std::io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot send")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn sources_follow_the_error_in_order() {
        let error = Outer(std::io::Error::other("broken pipe"));
        assert_eq!(with_sources(&error), "cannot send: broken pipe");
        assert_eq!(root_cause(&error), "broken pipe");
        assert_eq!(root_cause(&error.0), "broken pipe");
    }
}
