//! The embedded store on a file.

use crate::suite::Bed;
use skyhound::store::embedded::Embedded;
use std::sync::Arc;

conformance!(laws, || async {
    let dir = tempfile::tempdir().unwrap();
    let store = Embedded::open(&dir.path().join("skyhound.redb")).unwrap();
    Bed::holding(Arc::new(store), dir)
});
