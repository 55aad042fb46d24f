//! hound-dog's API, end to end: the real binary, real sockets, DNS asked by the real dig, on memory and on etcd.

mod bad;
mod ear;
mod life;
mod nodes;
mod peers;
mod said;
mod slow;
mod tls;

use skyhound_test_support::on_every_store;

on_every_store! {
    life::a_service_is_listed_and_answered_exactly_as_long_as_its_socket();
    life::listeners_hear_who_comes_and_goes_and_why("--timeout", "4");
    life::a_registering_socket_hears_its_own_and_whom_it_monitors();
    life::two_ports_of_one_address_are_two_instances();
    life::every_dialect_is_listed_and_told();
    life::the_store_says_how_it_is();
    said::what_is_said_goes_to_whom_it_concerns_once();
    said::a_long_event_is_whole_or_refused();
    bad::what_is_asked_wrongly_hears_why();
    slow::who_falls_behind_is_cut_off_and_nobody_waits();
    slow::who_missed_changes_hears_what_is_there();
    slow::who_takes_nothing_is_cut_off("--timeout", "4");
}
