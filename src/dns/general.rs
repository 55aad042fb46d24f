//! The general path over UDP, as one function from bytes to bytes.
//!
//! Owns: what hickory-server does around a [`RequestHandler`] for its own UDP sockets: reading the message,
//! FORMERR for what cannot be read, silence to responses, encoding. The sockets are ours ([`super::udp`]),
//! hence this; [`Handler`] is the same as over TCP. Does not own: what is answered.

use super::handler::Handler;
use hickory_proto::ProtoError;
use hickory_proto::op::{Header, MessageType, ResponseCode};
use hickory_proto::rr::Record;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncoder};
use hickory_server::net::NetError;
use hickory_server::net::runtime::TokioTime;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::{MessageResponse, MessageResponseBuilder, Queries};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// A response that is not there yet. `None` for silence.
pub(super) type Later = Pin<Box<dyn Future<Output = Option<Vec<u8>>> + Send>>;

/// What is said to a message.
pub(super) enum Said {
    /// At once: the answer came from memory. `None` for silence.
    Now(Option<Vec<u8>>),
    /// Somebody else has to be asked first. Needs a tokio runtime to go on.
    Later(Later),
}

/// Answers a message. Call it within a tokio runtime ([`tokio::runtime::Handle::enter`]): an answer that
/// waits for somebody else has timers.
pub(super) fn respond(handler: &Handler, message: &[u8], from: SocketAddr, over: Protocol) -> Said {
    let Ok(header) = Header::read(&mut BinDecoder::new(message)) else { return Said::Now(None) };
    // Looked at before anything else: two servers that answer each other's errors would go on for ever.
    if header.message_type == MessageType::Response {
        return Said::Now(None);
    }
    let Ok(request) = Request::from_bytes(message.to_vec(), from, over) else {
        handler.stats().unreadable();
        return Said::Now(form_error(&header));
    };
    let handler = handler.clone();
    let mut answer: Later = Box::pin(async move {
        let reply = Reply::default();
        handler.handle_request::<_, TokioTime>(&request, reply.clone()).await;
        reply.take()
    });
    // Polled once here: what is answered from memory is complete then, without a task.
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => Said::Now(response),
        Poll::Pending => Said::Later(answer),
    }
}

/// The response to what cannot be read: the header is all that is known.
fn form_error(header: &Header) -> Option<Vec<u8>> {
    let none = Queries::read(&mut BinDecoder::new(&[]), 0).ok()?;
    encoded(MessageResponseBuilder::new(&none, None).error_msg(header, ResponseCode::FormErr))
        .ok()
        .map(|(_, bytes)| bytes)
}

/// Where the handler puts its response.
#[derive(Clone, Default)]
struct Reply(Arc<Mutex<Option<Vec<u8>>>>);

impl Reply {
    fn take(&self) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait::async_trait]
impl ResponseHandler for Reply {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let (info, bytes) = encoded(response)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
        Ok(info)
    }
}

/// A response in wire form. The handler has seen to its size.
fn encoded<'a>(
    response: MessageResponse<
        '_,
        'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
        impl Iterator<Item = &'a Record> + Send + 'a,
    >,
) -> Result<(ResponseInfo, Vec<u8>), ProtoError> {
    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(u16::MAX);
    let info = response.destructive_emit(&mut encoder)?;
    Ok((info, bytes))
}
