//! Register through any dialect, discover through any: every way in against every way to find.
//!
//! A way in is a row ([`ways_in`]), a way to find is a column ([`ways_to_find`]). One more dialect is one more of each.

mod ways_in;
mod ways_to_find;

use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::wait_until;
use std::time::Duration;

/// With a hub for seaport's peers; everything else is there anyway.
const HUB: [&str; 2] = ["--seaport-listen", "OWN-ADDRESS:9090"];

/// Where an instance is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The address as text.
    pub ip: String,
    /// The port.
    pub port: u16,
}

async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let ask = async || if so().await { Ok(()) } else { Err(what.to_owned()) };
    wait_until(Duration::from_secs(30), ask).await;
}

/// Every pair: found everywhere with the answer to the registration, and nowhere after it has left.
async fn all_pairs(site: Site) {
    for (row, way_in) in ways_in::all().into_iter().enumerate() {
        let service = format!("by-{}", way_in.name);
        let place = Place { ip: format!("10.7.0.{}", row + 1), port: 4000 };
        let mut ear = ways_to_find::Ear::open(&site, &service).await;
        let held = (way_in.register)(&site, &service, &place).await;
        for column in ways_to_find::all() {
            let found = (column.find)(&site, &service).await;
            assert_eq!(found, std::slice::from_ref(&place), "in by {}, found by {}", way_in.name, column.name);
        }
        assert_eq!(ear.next().await, ("PUT".to_owned(), vec![place.clone()]), "in by {}", way_in.name);
        held.leave().await;
        for column in ways_to_find::all() {
            until(&format!("in by {}, still found by {}", way_in.name, column.name), async || {
                (column.find)(&site, &service).await.is_empty()
            })
            .await;
        }
        assert_eq!(ear.next().await, ("DELETE".to_owned(), vec![]), "in by {}", way_in.name);
    }
}

/// Several ways in at once make one set, whichever way it is looked at.
async fn one_set(site: Site) {
    let mut held = Vec::new();
    let mut places = Vec::new();
    for (row, way_in) in ways_in::all().into_iter().enumerate() {
        let place = Place { ip: format!("10.7.1.{}", row + 1), port: 4000 };
        held.push((way_in.register)(&site, "all", &place).await);
        places.push(place);
    }
    for column in ways_to_find::all() {
        // A way that answers with one says every one of them sooner or later.
        let mut missing = places.clone();
        until(&format!("{} does not find {missing:?}", column.name), async || {
            let found = (column.find)(&site, "all").await;
            assert!(found.iter().all(|place| places.contains(place)), "{} finds {found:?}", column.name);
            missing.retain(|place| !found.contains(place));
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
