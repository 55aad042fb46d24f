//! Any datagram: as the threads that answer over UDP take it, as both paths answer it, and as a stream would.

use super::message;
use super::world::{Client, datagrams};
use hickory_proto::op::Message;
use hickory_proto::rr::Record;
use skyhound_dns::datagram::DatagramHandler;
use std::cell::OnceCell;
use std::collections::BTreeSet;

thread_local! {
    static WORLD: OnceCell<DatagramHandler> = const { OnceCell::new() };
}

/// Checks: no panic, no response to responses and to what has no header, one right answer to everything else.
pub fn holds(datagram: &[u8]) {
    WORLD.with(|world| {
        let world = world.get_or_init(|| datagrams(&[]));
        let sum = datagram.iter().fold(17u32, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        for client in [Client::Near, Client::Stranger, Client::Denied] {
            one(world, datagram, client, sum);
        }
    });
}

/// The law for one client. `random` is where sets begin.
pub fn one(world: &DatagramHandler, datagram: &[u8], client: Client, random: u32) {
    let from = client.addr();
    let sent = world.respond_to(datagram, from, random);
    if datagram.len() < 12 || datagram[2] & 0x80 != 0 {
        assert_eq!(sent, None, "no response");
        return;
    }
    let response = sent.expect("every question is answered");
    let read = message::holds(datagram, &response, true);
    if client == Client::Denied {
        assert!(message::is_prohibited(&read), "{read}");
        assert!(response.len() <= datagram.len() + 6, "of no use with a forged address");
        return;
    }
    let (may, rcode) = (message::rcodes(datagram), read.metadata.response_code);
    // By number: 16 has two names.
    assert!(may.iter().any(|may| u16::from(*may) == u16::from(rcode)), "{rcode} is none of {may:?}");
    let stream = world.respond_as_stream(datagram, from).expect("a stream answers as well");
    let whole = message::holds(datagram, &stream, false);
    assert_eq!(read.metadata.response_code, whole.metadata.response_code, "the rcode of both transports");
    let general = world.respond_general(datagram, from).expect("the general path takes everything");
    let general = message::holds(datagram, &general, true);
    if let Some(fast) = world.respond_fast(datagram, from, random) {
        assert_eq!(fast, response, "what the fast path takes it answers");
        agree(&read, &general, &whole);
    }
}

/// Records without their order, in lower case: which of their names repeat the case of the question depends
/// on what was compressed.
fn set(records: &[Record]) -> BTreeSet<String> {
    records.iter().map(|r| format!("{} {} {:?}", r.name, r.ttl, r.data).to_lowercase()).collect()
}

/// Checks that the fast path answers as the general path does, truncated where that is.
fn agree(fast: &Message, general: &Message, whole: &Message) {
    let mut head = fast.metadata;
    head.truncation = false;
    assert_eq!((head, &fast.edns), (whole.metadata, &whole.edns));
    assert!(set(&fast.additionals).is_subset(&set(&whole.additionals)));
    if fast.metadata.truncation {
        assert!(general.metadata.truncation, "the general path need not cut this");
        assert!(set(&fast.answers).is_subset(&set(&whole.answers)) && fast.additionals.is_empty());
    } else {
        assert_eq!(set(&fast.answers), set(&whole.answers));
        assert_eq!(set(&fast.authorities), set(&whole.authorities));
    }
}
