//! micro's sidecar: the real binary, asked as its clients ask.

mod ask;
mod broker;
mod cli;
mod lasting;
mod nodes;
mod queues;
mod registry;
mod rpc;
mod sidecar;
mod stats;

use skyhound_test_support::on_every_store;

on_every_store! {
    registry::what_is_registered_is_listed_and_in_dns_until_it_is_removed();
    registry::nodes_of_versions_and_of_other_dialects();
    registry::what_cannot_be_registered_hears_why();
    lasting::it_stays_when_its_peer_and_other_claims_have_gone();
    lasting::a_term_is_renewed_by_saying_it_again_and_ends_without();
    lasting::many_at_once();
    broker::what_is_said_is_heard_by_all_on_the_topic();
    broker::who_talks_without_a_pause_hears_all_of_it();
    broker::one_of_a_queue_gets_each_message();
    broker::what_is_wrong_is_said();
}
