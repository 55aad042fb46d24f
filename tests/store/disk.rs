//! The embedded store on a file.

use crate::suite::Bed;
use skyhound::store::embedded::Embedded;
use std::sync::Arc;

async fn open() -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(&dir.path().join("skyhound.redb")).unwrap();
    Bed::holding(Arc::new(store), dir)
}

conformance!(laws, open);
