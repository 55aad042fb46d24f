//! Registration through every frontend against discovery through every frontend.
//!
//! A registration method is a row ([`registration`]), a discovery method is a column ([`discovery`]). One more frontend
//! is one more of each.

mod discovery;
mod registration;

use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::wait_until;
use std::time::Duration;

/// With a hub for seaport's peers; everything else is there anyway.
const HUB: [&str; 2] = ["--seaport-listen", "OWN-ADDRESS:9090"];

/// The address and port of an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The address as text.
    pub ip: String,
    /// The port.
    pub port: u16,
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let ask = async || if condition().await { Ok(()) } else { Err(what.to_owned()) };
    wait_until(Duration::from_secs(30), ask).await;
}

/// Every pair: an instance is found everywhere once its registration is confirmed, and nowhere after its removal.
async fn all_pairs(site: Site) {
    for (row, method) in registration::all().into_iter().enumerate() {
        let service = format!("by-{}", method.name);
        let endpoint = Endpoint { ip: format!("10.7.0.{}", row + 1), port: 4000 };
        let mut subscriber = discovery::Subscriber::open(&site, &service).await;
        let held = (method.register)(&site, &service, &endpoint).await;
        for column in discovery::all() {
            let found = (column.find)(&site, &service).await;
            assert_eq!(
                found,
                std::slice::from_ref(&endpoint),
                "registered by {}, found by {}",
                method.name,
                column.name
            );
        }
        assert_eq!(
            subscriber.next().await,
            ("PUT".to_owned(), vec![endpoint.clone()]),
            "registered by {}",
            method.name
        );
        held.leave().await;
        for column in discovery::all() {
            until(&format!("registered by {}, still found by {}", method.name, column.name), async || {
                (column.find)(&site, &service).await.is_empty()
            })
            .await;
        }
        assert_eq!(subscriber.next().await, ("DELETE".to_owned(), vec![]), "registered by {}", method.name);
    }
}

/// Instances of several registration methods form one set for every discovery method.
async fn one_set(site: Site) {
    let mut held = Vec::new();
    let mut endpoints = Vec::new();
    for (row, method) in registration::all().into_iter().enumerate() {
        let endpoint = Endpoint { ip: format!("10.7.1.{}", row + 1), port: 4000 };
        held.push((method.register)(&site, "all", &endpoint).await);
        endpoints.push(endpoint);
    }
    for column in discovery::all() {
        // A method that returns one instance returns each of them sooner or later.
        let mut missing = endpoints.clone();
        until(&format!("{} does not find {missing:?}", column.name), async || {
            let found = (column.find)(&site, "all").await;
            assert!(found.iter().all(|endpoint| endpoints.contains(endpoint)), "{} finds {found:?}", column.name);
            missing.retain(|endpoint| !found.contains(endpoint));
            missing.is_empty()
        })
        .await;
    }
}

#[multi_thread_test]
async fn every_pair_in_memory() {
    all_pairs(Site::memory(&HUB).await).await;
}

#[multi_thread_test]
async fn every_pair_on_disk() {
    all_pairs(Site::disk(&HUB).await).await;
}

#[multi_thread_test]
async fn every_pair_in_etcd() {
    all_pairs(Site::etcd(&HUB).await).await;
}

#[multi_thread_test]
async fn one_set_in_memory() {
    one_set(Site::memory(&HUB).await).await;
}

#[multi_thread_test]
async fn one_set_in_etcd() {
    one_set(Site::etcd(&HUB).await).await;
}
