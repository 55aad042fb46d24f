//! The store in etcd, on a real server: the contract, and the failures of a server.

mod feeds;
mod size;
mod tls;
mod unavailable;
mod users;

use crate::suite::{Bed, LEASE_TTL, TIMEOUT, next, write};
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

/// Opens a store in the one etcd of all contract tests, which runs as long as any of them does.
async fn open() -> Bed {
    static SHARED: Mutex<Weak<EtcdProcess>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    let etcd = match shared.upgrade() {
        Some(etcd) => etcd,
        None => Arc::new(EtcdProcess::start().await),
    };
    *shared = Arc::downgrade(&etcd);
    let settings = EtcdSettings { request_timeout: TIMEOUT, ..etcd.settings() };
    Bed::with_resource(Arc::new(Etcd::connect(settings).await.unwrap()), etcd)
}

conformance!(contract, open);

fn key(name: &str) -> Key {
    Key::from(format!("/t/{name}"))
}

fn put(name: &str, lease: Option<LeaseId>) -> Op {
    Op::Put { key: key(name), value: Bytes::from_static(b"{}"), lease }
}

async fn commit(store: &Etcd, op: Op) -> Result<Revision, StoreError> {
    store.commit(vec![write([op])]).await.map(|commit| commit.revision)
}

/// Commits a put until it succeeds. The put may be repeated, so an unknown outcome leads to a retry.
async fn commit_with_retries(store: &Etcd, name: &str) -> Revision {
    wait_until(TIMEOUT, async || match commit(store, put(name, None)).await {
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

/// Reads until the feed ends, and returns the reason.
async fn end(feed: &mut Feed) -> StoreError {
    let reading = async {
        loop {
            if let Err(error) = feed.next().await {
                return error;
            }
        }
    };
    timeout(TIMEOUT, reading).await.expect("the end of the feed")
}

fn assert_unreachable<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
}

fn assert_denied<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
}

/// Makes every kind of call that needs a token.
async fn make_all_calls(store: &Etcd, lease: LeaseId) {
    let mut feed = store.feed(b"/t/", store.list(b"/t/").await.unwrap().revision).await.unwrap();
    let revision = commit(store, put("a", Some(lease))).await.unwrap();
    assert_eq!(next(&mut feed).await.revision, revision);
    assert_eq!(store.renew(&[lease]).await.unwrap(), [true]);
    store.revoke(store.grant(LEASE_TTL).await.unwrap()).await.unwrap();
}
