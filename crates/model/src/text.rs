//! A string for fields that are nearly always empty.

use std::fmt;
use std::ops::Deref;

/// A string that takes one word and no heap memory while it is empty, as it is in nearly every entry.
///
/// ```
/// use skyhound_model::Text;
///
/// assert!(Text::default().is_empty());
/// assert_eq!(&*Text::from("v=spf1 -all"), "v=spf1 -all");
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
#[allow(clippy::redundant_allocation, reason = "a pointer to a `str` is two words")]
pub struct Text(Option<Box<Box<str>>>);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.as_deref().map_or("", AsRef::as_ref)
    }
}

impl<T: Into<Box<str>>> From<T> for Text {
    fn from(text: T) -> Self {
        let text = text.into();
        Self((!text.is_empty()).then(|| Box::new(text)))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl serde::Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_dereferences_to_its_content() {
        for text in ["", "x"] {
            let held = Text::from(text);
            assert_eq!((&*held, held.to_string(), held.0.is_some()), (text, text.to_owned(), !text.is_empty()));
        }
        assert_eq!(size_of::<Text>(), size_of::<usize>());
    }
}
