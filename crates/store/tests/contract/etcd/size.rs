//! Lists, batches and values over the size of a message.

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
async fn long_values_are_reassembled_from_fragments() {
    const REVISIONS: usize = 65;
    const EACH: usize = 8;
    let etcd = EtcdProcess::start().await;
    let store = etcd.store().await;
    let long = |name: String, bytes| Op::Put { key: key(&name), value: Bytes::from(vec![b'x'; bytes]), lease: None };
    let mut last = Revision(0);
    for revision in 0..REVISIONS {
        let ops: Vec<_> = (0..EACH).map(|n| long(format!("{revision:02}/{n}"), (1 << 20) / EACH)).collect();
        last = store.commit(vec![write(ops)]).await.unwrap().revision;
    }
    // 65 MiB in one response is over the limit: the pages become shorter.
    let listing = store.list(b"/t/").await.unwrap();
    assert_eq!(listing.items.len(), REVISIONS * EACH);
    assert!(listing.items.is_sorted_by(|a, b| a.key < b.key));
    // etcd splits a watch's responses at about 2 MiB, in the middle of a revision.
    let mut feed = store.feed(b"/t/", Revision(0)).await.unwrap();
    for _ in 0..REVISIONS {
        assert_eq!(next(&mut feed).await.changes.len(), EACH);
    }
    // Over etcd's limit of a request.
    let result = commit(&store, long("long".into(), 2 << 20)).await;
    assert!(matches!(result, Err(StoreError::Rejected(_))), "{result:?}");
    assert_eq!(store.list(b"/t/").await.unwrap().revision, last);
}
