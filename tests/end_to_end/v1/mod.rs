//! Plain HTTP end to end: lists, what changes, and the verbs that ask for them; the real binary on every store.

mod lists;
mod schema;
mod verbs;
mod watch;

use skyhound_test_support::on_every_store;

on_every_store! {
    lists::instances_carry_their_registered_parameters();
    watch::first_all_then_each_change();
    watch::a_resumed_stream_receives_missed_events();
    watch::a_token_of_another_history_resets_the_stream();
}
