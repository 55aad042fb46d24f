//! Plain HTTP end to end: lists, what changes, and the verbs that ask for them; the real binary on every store.

// The modules of a test are its own affair.
#![allow(unreachable_pub)]

#[path = "../support/mod.rs"]
mod support;

mod lists;
mod schema;
mod verbs;
mod watch;

use support::site::Site;

/// The same tests on each store.
macro_rules! on_every_store {
    ($($module:ident::$name:ident;)*) => {
        mod memory { use super::*; $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { $module::$name(Site::memory(&[]).await).await; }
        )* }
        mod disk { use super::*; $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { $module::$name(Site::disk(&[]).await).await; }
        )* }
        mod etcd { use super::*; $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() { $module::$name(Site::etcd(&[]).await).await; }
        )* }
    };
}

on_every_store! {
    lists::instances_say_what_their_peers_said;
    watch::first_all_then_each_change;
    watch::who_comes_back_hears_what_it_missed;
    watch::who_is_of_another_history_takes_the_whole_set;
}
