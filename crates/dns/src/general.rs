//! The general path, as one function from bytes to bytes: every transport ends here.
//!
//! Owns: FORMERR for what cannot be read, silence to responses. Does not own: the sockets (`udp`, [`super::stream`],
//! [`super::https`]), reading the message (hickory-server), nor what is answered ([`super::handler`], through the
//! interface of `request_handler`).

use super::handler::Handler;
use super::message::Transport;
use super::request_handler::{self, Collector};
use super::wire;
use hickory_net::runtime::TokioTime;
use hickory_proto::op::{Header, HeaderCounts, MessageType, Metadata, ResponseCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable};
use hickory_server::server::{Request, RequestHandler};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A response that is not there yet.
pub(super) type PendingResponse = Pin<Box<dyn Future<Output = Vec<u8>> + Send>>;

/// What is said to a message.
pub(super) enum ResponseState {
    /// At once: the answer came from memory. `None` for silence.
    Ready(Option<Vec<u8>>),
    /// Somebody else has to be asked first. Needs a tokio runtime to go on.
    Pending(PendingResponse),
}

/// Answers a message. Call it within a tokio runtime ([`tokio::runtime::Handle::enter`]): an answer that
/// waits for somebody else has timers.
pub(super) fn respond(handler: &Handler, message: &[u8], from: SocketAddr, transport: Transport) -> ResponseState {
    let Ok(header) = Header::read(&mut BinDecoder::new(message)) else { return ResponseState::Ready(None) };
    // Looked at before anything else: two servers that answer each other's errors would go on for ever.
    if header.message_type == MessageType::Response {
        return ResponseState::Ready(None);
    }
    // A pointer in the question can mean nothing but the header before it (RFC 1035 section 4.1.4), whose bytes
    // are others in the response that repeats the question.
    let whole = wire::questions_end(message)
        .and_then(|_| Request::from_bytes(message.to_vec(), from, request_handler::protocol(transport)).ok());
    let Some(request) = whole else {
        handler.stats().count_malformed(transport);
        return ResponseState::Ready(form_error(&header));
    };
    let handler = handler.clone();
    let mut answer: PendingResponse = Box::pin(async move {
        let collector = Collector::new(transport);
        handler.handle_request::<_, TokioTime>(&request, collector.clone()).await;
        collector.take()
    });
    // Polled once here: what is answered from memory is complete then, without a task.
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => ResponseState::Ready(Some(response)),
        Poll::Pending => ResponseState::Pending(answer),
    }
}

/// The response to what cannot be read: the header is all that is known.
fn form_error(header: &Header) -> Option<Vec<u8>> {
    let mut metadata = Metadata::response_from_request(&header.metadata);
    metadata.response_code = ResponseCode::FormErr;
    Header { metadata, counts: HeaderCounts::default() }.to_bytes().ok()
}
