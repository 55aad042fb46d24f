//! The embedded store without a file.

use crate::suite::Bed;
use skyhound::store::embedded::Embedded;
use std::sync::Arc;

conformance!(laws, || async { Bed::new(Arc::new(Embedded::in_memory().unwrap())) });
