//! Lists: the items below a prefix at one revision.

use super::{Bed, LEASE_TTL, TIMEOUT, write};
use bytes::Bytes;
use skyhound_model::Key;
use skyhound_store::{Item, Op, Revision};
use tokio::time::timeout;

pub(crate) async fn a_list_is_complete_below_its_prefix_and_sorted_by_key(bed: Bed) {
    let lease = bed.store.grant(LEASE_TTL * 10).await.unwrap();
    let put = bed.commit([bed.put("b", "2"), bed.put_on(lease, "a/x", "1"), bed.put("b/c", "3")]).await;
    let later = bed.commit([bed.put("b", "4")]).await;
    let item = |name: &str, value: &str, revision, lease| Item {
        key: bed.key(name),
        value: Bytes::copy_from_slice(value.as_bytes()),
        revision,
        lease,
    };
    let listing = bed.list().await;
    assert!(listing.revision >= later);
    let (ax, b, bc) = (item("a/x", "1", put, Some(lease)), item("b", "4", later, None), item("b/c", "3", put, None));
    assert_eq!(listing.items, [ax.clone(), b.clone(), bc.clone()]);
    for (prefix, expected) in [("a", vec![ax]), ("b", vec![b, bc.clone()]), ("b/", vec![bc]), ("c", vec![])] {
        assert_eq!(bed.store.list(bed.key(prefix).as_bytes()).await.unwrap().items, expected, "below {prefix}");
    }
    bed.store.revoke(lease).await.unwrap();
}

pub(crate) async fn a_list_accepts_any_bytes(bed: Bed) {
    // 0xff has no successor: the end of a range below it is one byte shorter.
    let mut root = bed.key("").as_bytes().to_vec();
    root.extend([0xff, 0xff]);
    let below = |tail: &[u8]| Key::from([root.as_slice(), tail].concat());
    let keys = [below(&[]), below(&[0]), below(&[0xff, 0xff])];
    for key in &keys {
        let value = Bytes::from_static(&[0, 0xff]);
        bed.store.commit(vec![write([Op::Put { key: key.clone(), value, lease: None }])]).await.unwrap();
    }
    bed.commit([Op::Put { key: bed.key("empty"), value: Bytes::new(), lease: None }]).await;
    let listing = bed.store.list(&root).await.unwrap();
    assert_eq!(listing.items.iter().map(|item| item.key.clone()).collect::<Vec<_>>(), keys);
    assert!(listing.items.iter().all(|item| item.value.as_ref() == [0, 0xff]));
    assert_eq!(bed.store.list(bed.key("empty").as_bytes()).await.unwrap().items[0].value, Bytes::new());
}

pub(crate) async fn a_list_shows_one_revision_while_others_write(bed: Bed) {
    bed.commit([bed.put("left", "0"), bed.put("right", "0")]).await;
    let writing = async {
        for round in 1..=50 {
            bed.commit([bed.put("left", round.to_string()), bed.put("right", round.to_string())]).await;
        }
    };
    let reading = async {
        let mut seen = Revision(0);
        loop {
            let listing = bed.list().await;
            let [left, right] = listing.items.as_slice() else { panic!("{listing:?}") };
            assert_eq!((&left.value, left.revision), (&right.value, right.revision));
            assert!(left.revision <= listing.revision && listing.revision >= seen);
            seen = listing.revision;
            if left.value == "50" {
                return;
            }
            // A store that returns at once would never let the writer run.
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, async { tokio::join!(writing, reading) }).await.unwrap();
}

pub(crate) async fn the_status_is_no_older_than_the_last_commit(bed: Bed) {
    let put = bed.commit([bed.put("a", "1")]).await;
    let status = bed.store.status().await.unwrap();
    assert!(status.revision >= put, "{status:?}");
    assert!(!status.kind.is_empty() && !status.version.is_empty() && !status.location.is_empty(), "{status:?}");
}
