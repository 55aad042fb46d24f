//! Leases: renewed, expired and revoked, with the keys that are attached to them.

use super::{Bed, LEASE_TTL, assert_quiet, key_of, next, write};
use skyhound_store::{Change, StoreError};
use std::collections::BTreeMap;
use std::time::Instant;

pub(crate) async fn a_renewed_lease_does_not_expire(bed: Bed) {
    let lease = bed.store.grant(LEASE_TTL).await.unwrap();
    let mut feed = bed.feed(bed.commit([bed.put_on(lease, "a", "1")]).await).await;
    let granted = Instant::now();
    while granted.elapsed() < LEASE_TTL * 3 {
        assert_eq!(bed.store.renew(&[lease]).await.unwrap(), [true]);
        assert_quiet(&mut feed).await;
    }
    assert_eq!(bed.contents().await.len(), 1);
    bed.store.revoke(lease).await.unwrap();
}

pub(crate) async fn an_expired_lease_removes_all_its_keys_at_one_revision(bed: Bed) {
    let start = Instant::now();
    let lease = bed.store.grant(LEASE_TTL).await.unwrap();
    bed.commit([bed.put_on(lease, "b", "1"), bed.put("free", "1")]).await;
    let put = bed.commit([bed.put_on(lease, "a", "1"), bed.put_on(lease, "c", "1")]).await;
    let mut feed = bed.feed(put).await;
    let expiry = next(&mut feed).await;
    assert!(start.elapsed() >= LEASE_TTL, "after {:?}", start.elapsed());
    let mut keys = expiry.changes.clone();
    keys.sort_by(|a, b| key_of(a).cmp(key_of(b)));
    assert_eq!(keys, ["a", "b", "c"].map(|name| Change::Delete(bed.key(name))));
    assert!(expiry.revision > put);
    assert_eq!(bed.contents().await.into_keys().collect::<Vec<_>>(), ["free"]);
    assert_eq!(bed.store.renew(&[lease]).await.unwrap(), [false]);
}

pub(crate) async fn a_revoked_lease_removes_all_its_keys_at_one_revision(bed: Bed) {
    let lease = bed.store.grant(LEASE_TTL * 10).await.unwrap();
    let put = bed.commit([bed.put_on(lease, "a", "1"), bed.put_on(lease, "b", "1"), bed.put("c", "1")]).await;
    let mut feed = bed.feed(put).await;
    bed.store.revoke(lease).await.unwrap();
    assert_eq!(bed.contents().await.into_keys().collect::<Vec<_>>(), ["c"]);
    assert_eq!(next(&mut feed).await.changes.len(), 2);
    bed.store.revoke(lease).await.expect("revoking a missing lease is not an error");
    assert_quiet(&mut feed).await;
}

pub(crate) async fn renew_reports_in_order_which_leases_exist(bed: Bed) {
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(bed.store.grant(LEASE_TTL * 10).await.unwrap());
    }
    assert!(leases.iter().all(|lease| lease.0 != 0));
    bed.store.revoke(leases[1]).await.unwrap();
    assert_eq!(bed.store.renew(&leases).await.unwrap(), [true, false, true]);
    assert_eq!(bed.store.renew(&[]).await.unwrap(), [false; 0]);
    for lease in leases {
        bed.store.revoke(lease).await.unwrap();
    }
}

pub(crate) async fn a_put_on_a_missing_lease_fails_the_whole_commit(bed: Bed) {
    let lease = bed.store.grant(LEASE_TTL * 10).await.unwrap();
    bed.store.revoke(lease).await.unwrap();
    let writes = vec![write([bed.put("a", "1")]), write([bed.put("b", "1"), bed.put_on(lease, "c", "1")])];
    let outcome = bed.store.commit(writes).await;
    assert!(matches!(outcome, Err(StoreError::LeaseNotFound)), "{outcome:?}");
    assert_eq!(bed.contents().await, BTreeMap::new());
}

pub(crate) async fn a_put_detaches_the_key_from_its_old_lease(bed: Bed) {
    let old = bed.store.grant(LEASE_TTL * 10).await.unwrap();
    let new = bed.store.grant(LEASE_TTL * 10).await.unwrap();
    bed.commit([bed.put_on(old, "free", "1"), bed.put_on(old, "moved", "1"), bed.put_on(old, "same", "1")]).await;
    bed.commit([bed.put("free", "2"), bed.put_on(new, "moved", "2"), bed.put_on(old, "same", "2")]).await;
    bed.store.revoke(old).await.unwrap();
    assert_eq!(bed.contents().await.into_keys().collect::<Vec<_>>(), ["free", "moved"]);
    bed.store.revoke(new).await.unwrap();
    assert_eq!(bed.contents().await.into_keys().collect::<Vec<_>>(), ["free"]);
}

pub(crate) async fn a_delete_detaches_the_key_from_its_lease(bed: Bed) {
    let lease = bed.store.grant(LEASE_TTL * 10).await.unwrap();
    bed.commit([bed.put_on(lease, "a", "1")]).await;
    bed.commit([bed.delete("a")]).await;
    bed.commit([bed.put("a", "2")]).await;
    bed.store.revoke(lease).await.unwrap();
    assert_eq!(bed.contents().await["a"], "2");
}
