//! The embedded store without a file.

use crate::suite::Bed;
use skyhound::store::embedded::Embedded;
use std::sync::Arc;

async fn open() -> Bed {
    Bed::new(Arc::new(Embedded::in_memory().unwrap()))
}

conformance!(laws, open);
