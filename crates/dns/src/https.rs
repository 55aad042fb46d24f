//! DNS over HTTPS (RFC 8484): `/dns-query`, a route of the HTTP server.
//!
//! Owns: the message in an HTTP request and in its reply. Does not own: HTTP and TLS ([`skyhound_net`]), nor the answer
//! (`general`).

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

/// The path of the route: that of all examples in RFC 8484, and the default of clients.
const ROUTE: &str = "/dns-query";
/// The one media type (RFC 8484 section 6).
const MEDIA_TYPE: &str = "application/dns-message";
/// The maximum length of a DNS message.
const MESSAGE_MAX: usize = 65_535;

/// The routes for GET and POST.
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
    let text =
        text.ok_or_else(|| HttpError::bad_request("the query has no dns=; send the DNS message in it as base64url"))?;
    BASE64URL_NOPAD
        .decode(text.as_bytes())
        .map_err(|error| HttpError::bad_request(format!("dns= is not base64url without padding: {error}")))
}

/// The message in the body of a POST. The body is read before any check: over HTTP/2 an error before the body's end
/// also resets the stream, and not every client reads the error then.
async fn message_from_body(request: Request) -> Result<Bytes, HttpError> {
    let is_message = request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == MEDIA_TYPE);
    let message = read_body(request, &Limits { body_bytes: MESSAGE_MAX, ..Limits::default() }).await?;
    if is_message {
        return Ok(message);
    }
    Err(HttpError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, format!("the content type must be {MEDIA_TYPE}")))
}

async fn handle(handler: &Handler, message: &[u8], peer: &Peer) -> Result<Reply, HttpError> {
    let answer = match respond(handler, message, peer.addr, Transport::Https) {
        ResponseState::Ready(Some(answer)) => answer,
        ResponseState::Pending(pending) => pending.await,
        ResponseState::Ready(None) => return Err(HttpError::bad_request("the message is not a DNS request")),
    };
    let cache_control = HeaderValue::from_str(&format!("max-age={}", max_age_s(&answer)));
    let mut reply = route::reply(StatusCode::OK, MEDIA_TYPE, Bytes::from(answer));
    if let Ok(cache_control) = cache_control {
        reply.headers_mut().insert(CACHE_CONTROL, cache_control);
    }
    Ok(reply)
}

/// The `max-age` of a reply in seconds: the shortest TTL of its answers, or without answers the negative TTL of the SOA
/// (RFC 8484 section 5.1, RFC 2308 section 5). A response without both is a temporary error and is not cached.
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
        let message = message_from_query("dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB").unwrap();
        assert_eq!((message.len(), &message[12..16]), (33, &b"\x03www"[..]));
        assert_eq!(message_from_query("x=y&dns=AAAB").unwrap(), [0, 0, 1]);
        for (query, why) in
            [("", "has no dns="), ("dns=AA%3D", "base64url"), ("dns=AAA=", "base64url"), ("dns=A", "base64url")]
        {
            let error = message_from_query(query).unwrap_err();
            assert!(error.status() == StatusCode::BAD_REQUEST && error.message().contains(why), "{query}: {error}");
        }
    }
}
