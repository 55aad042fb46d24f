//! Leases: kept, not kept, revoked; and the keys that hang on them.

use super::{Bed, TERM, changed, next, nothing, write};
use skyhound_store::{Change, StoreError};
use std::collections::BTreeMap;
use std::time::Instant;

pub(crate) async fn a_lease_that_is_kept_stays(bed: Bed) {
    let lease = bed.store.grant(TERM).await.unwrap();
    let mut feed = bed.feed(bed.commit([bed.put_on(lease, "a", "1")]).await).await;
    let granted = Instant::now();
    while granted.elapsed() < TERM * 3 {
        assert_eq!(bed.store.renew(&[lease]).await.unwrap(), [true]);
        nothing(&mut feed).await;
    }
    assert_eq!(bed.plain().await.len(), 1);
    bed.store.revoke(lease).await.unwrap();
}

pub(crate) async fn a_lease_that_is_not_kept_takes_all_its_keys_at_one_revision(bed: Bed) {
    let asked = Instant::now();
    let lease = bed.store.grant(TERM).await.unwrap();
    bed.commit([bed.put_on(lease, "b", "1"), bed.put("free", "1")]).await;
    let put = bed.commit([bed.put_on(lease, "a", "1"), bed.put_on(lease, "c", "1")]).await;
    let mut feed = bed.feed(put).await;
    let gone = next(&mut feed).await;
    assert!(asked.elapsed() >= TERM, "after {:?}", asked.elapsed());
    let mut keys = gone.changes.clone();
    keys.sort_by(|a, b| changed(a).cmp(changed(b)));
    assert_eq!(keys, ["a", "b", "c"].map(|name| Change::Delete(bed.key(name))));
    assert!(gone.revision > put);
    assert_eq!(bed.plain().await.into_keys().collect::<Vec<_>>(), ["free"]);
    assert_eq!(bed.store.renew(&[lease]).await.unwrap(), [false]);
}

pub(crate) async fn a_revoked_lease_takes_all_its_keys_at_one_revision(bed: Bed) {
    let lease = bed.store.grant(TERM * 10).await.unwrap();
    let put = bed.commit([bed.put_on(lease, "a", "1"), bed.put_on(lease, "b", "1"), bed.put("c", "1")]).await;
    let mut feed = bed.feed(put).await;
    bed.store.revoke(lease).await.unwrap();
    assert_eq!(bed.plain().await.into_keys().collect::<Vec<_>>(), ["c"]);
    assert_eq!(next(&mut feed).await.changes.len(), 2);
    bed.store.revoke(lease).await.expect("a lease that is gone may be revoked again");
    nothing(&mut feed).await;
}

pub(crate) async fn keep_says_in_order_which_leases_are_there(bed: Bed) {
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(bed.store.grant(TERM * 10).await.unwrap());
    }
    assert!(leases.iter().all(|lease| lease.0 != 0));
    bed.store.revoke(leases[1]).await.unwrap();
    assert_eq!(bed.store.renew(&leases).await.unwrap(), [true, false, true]);
    assert_eq!(bed.store.renew(&[]).await.unwrap(), [false; 0]);
    for lease in leases {
        bed.store.revoke(lease).await.unwrap();
    }
}

pub(crate) async fn a_put_on_a_lease_that_is_gone_undoes_the_whole_commit(bed: Bed) {
    let lease = bed.store.grant(TERM * 10).await.unwrap();
    bed.store.revoke(lease).await.unwrap();
    let writes = vec![write([bed.put("a", "1")]), write([bed.put("b", "1"), bed.put_on(lease, "c", "1")])];
    let outcome = bed.store.commit(writes).await;
    assert!(matches!(outcome, Err(StoreError::LeaseNotFound)), "{outcome:?}");
    assert_eq!(bed.plain().await, BTreeMap::new());
}

pub(crate) async fn a_key_put_anew_leaves_its_old_lease(bed: Bed) {
    let old = bed.store.grant(TERM * 10).await.unwrap();
    let new = bed.store.grant(TERM * 10).await.unwrap();
    bed.commit([bed.put_on(old, "free", "1"), bed.put_on(old, "moved", "1"), bed.put_on(old, "same", "1")]).await;
    bed.commit([bed.put("free", "2"), bed.put_on(new, "moved", "2"), bed.put_on(old, "same", "2")]).await;
    bed.store.revoke(old).await.unwrap();
    assert_eq!(bed.plain().await.into_keys().collect::<Vec<_>>(), ["free", "moved"]);
    bed.store.revoke(new).await.unwrap();
    assert_eq!(bed.plain().await.into_keys().collect::<Vec<_>>(), ["free"]);
}

pub(crate) async fn a_key_deleted_leaves_its_lease(bed: Bed) {
    let lease = bed.store.grant(TERM * 10).await.unwrap();
    bed.commit([bed.put_on(lease, "a", "1")]).await;
    bed.commit([bed.delete("a")]).await;
    bed.commit([bed.put("a", "2")]).await;
    bed.store.revoke(lease).await.unwrap();
    assert_eq!(bed.plain().await["a"], "2");
}
