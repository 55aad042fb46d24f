//! The store in etcd, on a real one: the laws, and what can go wrong with a server.

mod away;
mod feeds;
mod size;
mod tls;
mod users;

use crate::suite::{Bed, PATIENCE, TERM, next, write};
use bytes::Bytes;
use skyhound_model::Key;
use skyhound_store::etcd::{Etcd, EtcdSettings, SettingsError};
use skyhound_store::{
    Batch, COMMIT_MAX, Change, FEED_BACKLOG, Feed, LeaseId, Op, Revision, Store, StoreError, WRITE_MAX,
};
use skyhound_test_support::etcd::{EtcdCluster, EtcdProcess};
use skyhound_test_support::pki::Authority;
use skyhound_test_support::wait::{holds_for, wait_until};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::time::timeout;

/// One etcd for all laws, as long as any of them is being tried.
async fn open() -> Bed {
    static SHARED: Mutex<Weak<EtcdProcess>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    let etcd = match shared.upgrade() {
        Some(etcd) => etcd,
        None => Arc::new(EtcdProcess::start().await),
    };
    *shared = Arc::downgrade(&etcd);
    let settings = EtcdSettings { request_timeout: PATIENCE, ..etcd.settings() };
    Bed::holding(Arc::new(Etcd::connect(settings).await.unwrap()), etcd)
}

conformance!(laws, open);

fn key(name: &str) -> Key {
    Key::from(format!("/t/{name}"))
}

fn put(name: &str, lease: Option<LeaseId>) -> Op {
    Op::Put { key: key(name), value: Bytes::from_static(b"{}"), lease }
}

async fn commit(store: &Etcd, op: Op) -> Result<Revision, StoreError> {
    store.commit(vec![write([op])]).await.map(|commit| commit.revision)
}

/// Commits until it is done. For puts that may be repeated: an unknown outcome is followed by another try.
async fn commit_at_last(store: &Etcd, name: &str) -> Revision {
    wait_until(PATIENCE, async || match commit(store, put(name, None)).await {
        Ok(revision) => Ok(revision),
        Err(error @ StoreError::Unreachable(_)) => Err(error),
        Err(error) => panic!("{error}"),
    })
    .await
}

async fn names(store: &Etcd) -> Vec<String> {
    let listing = store.list(b"/t/").await.unwrap();
    listing.items.iter().map(|item| item.key.to_string()["/t/".len()..].to_owned()).collect()
}

/// Reads until the feed ends, and says why it did.
async fn end(feed: &mut Feed) -> StoreError {
    let reading = async {
        loop {
            if let Err(error) = feed.next().await {
                return error;
            }
        }
    };
    timeout(PATIENCE, reading).await.expect("the end of the feed")
}

fn is_unreachable<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
}

fn is_denied<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
}

/// Everything that needs a token works.
async fn all_calls_work(store: &Etcd, lease: LeaseId) {
    let mut feed = store.feed(b"/t/", store.list(b"/t/").await.unwrap().revision).await.unwrap();
    let revision = commit(store, put("a", Some(lease))).await.unwrap();
    assert_eq!(next(&mut feed).await.revision, revision);
    assert_eq!(store.renew(&[lease]).await.unwrap(), [true]);
    store.revoke(store.grant(TERM).await.unwrap()).await.unwrap();
}
