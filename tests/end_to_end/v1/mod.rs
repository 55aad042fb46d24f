//! Plain HTTP end to end: lists, what changes, and the verbs that ask for them; the real binary on every store.

mod lists;
mod schema;
mod verbs;
mod watch;

use skyhound_test_support::on_every_store;

on_every_store! {
    lists::instances_say_what_their_peers_said();
    watch::first_all_then_each_change();
    watch::who_comes_back_hears_what_it_missed();
    watch::who_is_of_another_history_takes_the_whole_set();
}
