//! More than fits into a message.

use super::*;

#[tokio::test]
async fn a_list_of_several_pages_is_one_revision() {
    const COMMITS: usize = 7;
    let etcd = EtcdProcess::start().await;
    let store = etcd.store().await;
    for at in 0..COMMITS {
        let of =
            |n: usize| write((0..WRITE_MAX).map(|op| put(&format!("{at}/{n:03}/{op:02}"), None)).collect::<Vec<_>>());
        store.commit((0..COMMIT_MAX).map(of).collect()).await.unwrap();
    }
    let count = COMMITS * COMMIT_MAX * WRITE_MAX;
    assert!(count > 10_000, "more than a page");
    let (listing, later) = tokio::join!(store.list(b"/t/"), commit(&store, put("0/000/00", None)));
    let (listing, later) = (listing.unwrap(), later.unwrap());
    assert_eq!(listing.items.len(), count);
    assert!(listing.items.is_sorted_by(|a, b| a.key < b.key));
    let rewritten = listing.items[0].revision == later;
    assert_eq!(rewritten, listing.revision >= later);
}

#[tokio::test]
async fn a_list_of_long_values_is_read_in_shorter_pages() {
    const MIB: usize = 1 << 20;
    let etcd = EtcdProcess::start().await;
    let store = etcd.store().await;
    // 65 MiB in one answer is more than is accepted.
    for name in 0..65 {
        let value = Bytes::from(vec![b'x'; MIB]);
        commit(&store, Op::Put { key: key(&format!("{name:02}")), value, lease: None }).await.unwrap();
    }
    let listing = store.list(b"/t/").await.unwrap();
    assert_eq!(listing.items.len(), 65);
    assert!(listing.items.iter().all(|item| item.value.len() == MIB));
    // And a feed over all of it comes in fragments.
    let mut feed = store.feed(b"/t/", Revision(0)).await.unwrap();
    while next(&mut feed).await.revision < listing.revision {}
    // More than etcd takes at once.
    let value = Bytes::from(vec![b'x'; 2 * MIB]);
    let result = commit(&store, Op::Put { key: key("long"), value, lease: None }).await;
    assert!(matches!(result, Err(StoreError::Rejected(_))), "{result:?}");
}
