//! DNS over HTTPS (RFC 8484): `/dns-query`, a route of the HTTP server.
//!
//! Owns: a message in a request and in a reply. Does not own: HTTP and TLS ([`skyhound_net`]), nor what is
//! answered (`general`).

use super::general::{ResponseState, respond};
use super::handler::Handler;
use super::message::Transport;
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use skyhound_net::http::read_body;
use skyhound_net::limits::Limits;
use skyhound_net::{HttpError, Peer, Reply, Request, Route, route};

/// Where questions are taken: what RFC 8484 has in all its examples, and clients as their default.
const ROUTE: &str = "/dns-query";
/// The one media type (RFC 8484 section 6).
const MEDIA_TYPE: &str = "application/dns-message";
/// The longest message there is.
const MESSAGE_MAX: usize = 65_535;

/// GET and POST.
pub(super) fn routes(handler: &Handler) -> Vec<Route> {
    let (get, post) = (handler.clone(), handler.clone());
    vec![
        Route::get(ROUTE, move |request: Request, peer| {
            let handler = get.clone();
            async move { handle(&handler, &message_from_query(request.uri().query().unwrap_or_default())?, &peer).await }
        }),
        Route::post(ROUTE, move |request: Request, peer| {
            let handler = post.clone();
            async move { handle(&handler, &message_from_body(request).await?, &peer).await }
        }),
    ]
}

/// The message in `?dns=`, in base64url without padding (RFC 8484 section 4.1).
fn message_from_query(query: &str) -> Result<Vec<u8>, HttpError> {
    let text = query.split('&').find_map(|pair| pair.strip_prefix("dns="));
    let text = text.ok_or_else(|| HttpError::bad_request("there is no dns=, the message in base64url"))?;
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|error| HttpError::bad_request(format!("dns= is not base64url without padding: {error}")))
}

/// The message that a POST has as its body. That is read before anything is said about it: over HTTP/2 a refusal
/// that comes before the body's end also resets the stream, and not every client hears it then.
async fn message_from_body(request: Request) -> Result<Bytes, HttpError> {
    let is_message = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE);
    let message = read_body(request, &Limits { body_bytes: MESSAGE_MAX, ..Limits::default() }).await?;
    if is_message {
        return Ok(message);
    }
    Err(HttpError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the content type has to be {MEDIA_TYPE}")))
}

async fn handle(handler: &Handler, message: &[u8], peer: &Peer) -> Result<Reply, HttpError> {
    let answer = match respond(handler, message, peer.addr, Transport::Https) {
        ResponseState::Ready(Some(answer)) => answer,
        ResponseState::Pending(pending) => pending.await,
        ResponseState::Ready(None) => return Err(HttpError::bad_request("the message is no DNS question")),
    };
    let cache_control = HeaderValue::from_str(&format!("max-age={}", max_age_s(&answer)));
    let mut reply = route::reply(StatusCode::OK, MEDIA_TYPE, Bytes::from(answer));
    if let Ok(cache_control) = cache_control {
        reply.headers_mut().insert(CACHE_CONTROL, cache_control);
    }
    Ok(reply)
}

/// How long an answer may be cached, in seconds: as its shortest record, and without any as the SOA says of
/// what is not there (RFC 8484 section 5.1, RFC 2308 section 5). What says neither is an error of now.
fn max_age_s(answer: &[u8]) -> u32 {
    let Ok(message) = Message::from_vec(answer) else { return 0 };
    let shortest = message.answers.iter().map(|record| record.ttl).min();
    let negative = message.authorities.iter().filter_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    shortest.or_else(|| negative.min()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn get_query_yields_the_message_or_an_error() {
        // RFC 8484 section 4.1.1.
        let whole = message_from_query("dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB").unwrap();
        assert_eq!((whole.len(), &whole[12..16]), (33, &b"\x03www"[..]));
        assert_eq!(message_from_query("x=y&dns=AAAB").unwrap(), [0, 0, 1]);
        for (query, why) in
            [("", "no dns="), ("dns=AA%3D", "base64url"), ("dns=AAA=", "base64url"), ("dns=A", "base64url")]
        {
            let error = message_from_query(query).unwrap_err();
            assert!(error.status() == StatusCode::BAD_REQUEST && error.message().contains(why), "{query}: {error}");
        }
    }
}
