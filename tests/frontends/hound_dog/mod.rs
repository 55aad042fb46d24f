//! hound-dog's API, end to end: the real binary, real sockets, DNS queries by the real dig, on memory and on etcd.

mod bad;
mod events;
mod life;
mod nodes;
mod peers;
mod slow;
mod subscriber;
mod tls;

use skyhound_test_support::on_every_store;

on_every_store! {
    life::a_service_is_listed_and_answered_exactly_as_long_as_its_socket();
    life::subscribers_receive_each_change_and_its_reason("--timeout", "4");
    life::a_registering_socket_receives_its_own_and_monitored_changes();
    life::two_ports_of_one_address_are_two_instances();
    life::instances_of_every_frontend_are_listed_and_delivered();
    life::the_status_of_the_store_is_reported();
    events::an_event_reaches_each_subscriber_of_its_services_once();
    events::a_long_event_is_delivered_whole_or_refused();
    bad::invalid_requests_are_refused_with_a_reason();
    slow::a_lagged_subscriber_is_closed_and_delays_nobody();
    slow::a_subscriber_that_missed_changes_receives_the_current_set();
    slow::a_subscriber_that_reads_nothing_is_closed_after_the_send_timeout("--timeout", "4");
}
