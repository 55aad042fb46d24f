//! One HTTP connection: hyper reads the requests, and [`Routes`] handle them.
//!
//! Owns: the limits of a request's head and body, the errors for requests that exceed them, and the end of idle
//! connections when the daemon stops. Does not own: routes, nor the limit of connections (`super::listen`). HTTP/2
//! is served only over TLS to peers that select it (ALPN), for DNS over HTTPS; a WebSocket over it (RFC 8441) has no
//! client in this field.

use super::drain::Peer;
use super::error::HttpError;
use super::limits::{LINGER, LINGER_BYTES, Limits, REFUSALS, STREAMS};
use super::route::{Reply, Request, Routes};
use super::stream::Stream;
use super::tls::Tls;
use crate::metrics::Metrics;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::server::conn::{http1, http2};
use hyper::{HeaderMap, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Limit of unread response bytes per request of an HTTP/2 connection.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;

/// The state that all connections of a listener share.
#[derive(Debug)]
pub(super) struct HttpService {
    routes: Routes,
    limits: Limits,
    metrics: Arc<Metrics>,
    http1_builder: http1::Builder,
    http2_builder: http2::Builder<TokioExecutor>,
    refusals: Arc<Semaphore>,
}

impl HttpService {
    pub(super) fn new(routes: Routes, limits: Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        let mut http1_builder = http1::Builder::new();
        // hyper rejects a head over its own limits with a bare status. Twice our limits let it read most of the heads
        // that exceed ours, so that `check_head` rejects them with a message.
        http1_builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_headers(limits.headers * 2)
            .max_header_size(limits.head_bytes * 2)
            .max_buf_size((limits.head_bytes * 2).max(8192));
        let mut http2_builder = http2::Builder::new(TokioExecutor::new());
        http2_builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(u32::try_from(limits.head_bytes * 2).unwrap_or(u32::MAX))
            .max_send_buf_size(HTTP2_SEND_BUFFER);
        Arc::new(Self {
            routes,
            limits,
            metrics,
            http1_builder,
            http2_builder,
            refusals: Arc::new(Semaphore::new(REFUSALS)),
        })
    }

    /// Handles a request. An error is a response as well.
    async fn handle(&self, request: Request, peer: Peer) -> Reply {
        let found =
            check_head(&request, &self.limits).and_then(|()| self.routes.find(request.method(), request.uri().path()));
        let (path, response) = match found {
            Ok(route) => (route.path(), route.handle(request, peer).await),
            Err(error) => ("none", Err(error)),
        };
        let reply = response.unwrap_or_else(|error| {
            tracing::debug!(path, status = error.status().as_u16(), reason = error.message(), "rejected a request");
            error.into_reply()
        });
        self.metrics.request(path, reply.status().as_u16());
        reply
    }
}

/// Performs the TLS handshake if the listener has TLS. Returns `None` if it fails.
pub(super) async fn accept_tls(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    peer: &Peer,
    service: &HttpService,
) -> Option<Stream> {
    let Some(tls) = tls else { return Some(Stream::Plain(stream)) };
    let handshake = tokio::select! {
        handshake = timeout(service.limits.head_timeout, tls.accept(stream)) => handshake,
        () = peer.permit.stopping() => return None,
    };
    match handshake {
        Ok(Ok(stream)) => return Some(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => tracing::debug!(peer = %peer.addr, %error, "TLS handshake failed"),
        Err(_) => tracing::debug!(peer = %peer.addr, "TLS handshake timed out"),
    }
    service.metrics.handshake_failed();
    None
}

/// Serves a connection until it ends or a route takes over its socket.
pub(super) async fn serve(stream: Stream, peer: Peer, service: Arc<HttpService>) {
    if stream.is_http2() { serve_http2(stream, peer, service).await } else { serve_http1(stream, peer, service).await }
}

async fn serve_http1(stream: Stream, peer: Peer, service: Arc<HttpService>) {
    let permit = Arc::clone(&peer.permit);
    let handling = Arc::clone(&service);
    let handler = hyper::service::service_fn(move |request| {
        let (service, peer) = (Arc::clone(&handling), peer.clone());
        async move { Ok::<_, Infallible>(service.handle(request, peer).await) }
    });
    let mut connection = service.http1_builder.serve_connection(TokioIo::new(stream), handler).with_upgrades();
    let end = tokio::select! {
        end = &mut connection => end,
        () = permit.disconnect_requested() => return,
        () = permit.stopping() => {
            // An idle connection closes now, a busy one after its response.
            Pin::new(&mut connection).graceful_shutdown();
            tokio::select! {
                end = &mut connection => end,
                () = permit.disconnect_requested() => return,
            }
        }
    };
    let Err(error) = end else { return };
    tracing::trace!(%error, "connection ended with an error");
    let Some(parts) = connection.into_parts() else { return };
    let stream = parts.io.into_inner();
    if error.is_timeout() && !parts.read_buf.is_empty() {
        service.metrics.request("none", StatusCode::REQUEST_TIMEOUT.as_u16());
        let message = format!("the request's head did not arrive within {:?}", service.limits.head_timeout);
        send_final_response(stream, HttpError::new(StatusCode::REQUEST_TIMEOUT, message)).await;
    } else if error.is_parse() {
        // hyper has sent its error response.
        linger(stream).await;
    }
}

/// Serves an HTTP/2 connection. hyper has no timer for them: a connection without a request for the time of
/// `head_timeout` receives GOAWAY, and is closed a moment later.
async fn serve_http2(stream: Stream, peer: Peer, service: Arc<HttpService>) {
    let permit = Arc::clone(&peer.permit);
    let requests = Arc::new(AtomicUsize::new(0));
    let (handling, counter) = (Arc::clone(&service), Arc::clone(&requests));
    let handler = hyper::service::service_fn(move |request| {
        let (service, peer, in_flight) = (Arc::clone(&handling), peer.clone(), Arc::clone(&counter));
        in_flight.fetch_add(1, Relaxed);
        async move {
            let mut reply = service.handle(request, peer).await;
            // A streamed response is in flight until its body ends.
            reply.body_mut().attach_guard(in_flight);
            Ok::<_, Infallible>(reply)
        }
    });
    let mut connection = pin!(service.http2_builder.serve_connection(TokioIo::new(stream), handler));
    let idle = async {
        let mut previous = usize::MAX;
        loop {
            let now = requests.load(Relaxed);
            // Two references belong to the connection; the others are requests in flight.
            if now == previous && Arc::strong_count(&requests) == 2 {
                return;
            }
            previous = now;
            tokio::time::sleep(service.limits.head_timeout).await;
        }
    };
    tokio::select! {
        _ = connection.as_mut() => return,
        () = permit.disconnect_requested() => return,
        () = permit.stopping() => {}
        () = idle => {}
    }
    connection.as_mut().graceful_shutdown();
    // Once for the last bytes of a response, and again while one is in flight. A peer that does not react to GOAWAY
    // is not waited for.
    let draining =
        async { while timeout(LINGER, connection.as_mut()).await.is_err() && Arc::strong_count(&requests) > 2 {} };
    tokio::select! {
        () = draining => {}
        () = permit.disconnect_requested() => {}
    }
}

/// Rejects a connection over the limit with an error response, within the limit of [`REFUSALS`]. A TLS connection is
/// closed without one: it would need a handshake, which is too expensive here.
pub(super) fn refuse(stream: TcpStream, tls: bool, service: &Arc<HttpService>, max: usize) {
    service.metrics.request("none", StatusCode::SERVICE_UNAVAILABLE.as_u16());
    if tls {
        return;
    }
    let Ok(refusal_permit) = Arc::clone(&service.refusals).try_acquire_owned() else { return };
    let error = HttpError::unavailable(format!("this daemon holds {max} connections, which is its limit"));
    tokio::spawn(async move {
        send_final_response(stream, error).await;
        drop(refusal_permit);
    });
}

/// Sends an error to a peer that hyper does not serve (any more), and closes.
async fn send_final_response(mut stream: impl AsyncRead + AsyncWrite + Unpin, error: HttpError) {
    let reply = error.clone().into_reply();
    let mut head = format!("HTTP/1.1 {}\r\nconnection: close\r\n", reply.status());
    for (name, value) in reply.headers() {
        // All of them are set by this crate, and ASCII.
        head.extend([name.as_str(), ": ", value.to_str().unwrap_or_default(), "\r\n"]);
    }
    let body = error.message();
    let response = format!("{head}content-length: {}\r\n\r\n{body}\n", body.len() + 1);
    if matches!(timeout(LINGER, stream.write_all(response.as_bytes())).await, Ok(Ok(()))) {
        linger(stream).await;
    }
}

/// Closes a connection so that its last bytes arrive: see [`LINGER`].
pub(super) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let discarding = async {
        stream.shutdown().await?;
        let mut remaining = LINGER_BYTES;
        while remaining > 0 {
            match discard_some(&mut stream).await? {
                0 => break,
                read => remaining = remaining.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    // An error ends the wait as well: the peer disconnected.
    let _ = timeout(LINGER, discarding).await;
}

/// Reads and drops available bytes. Returns their number.
async fn discard_some(stream: &mut (impl AsyncRead + Unpin)) -> std::io::Result<usize> {
    std::future::poll_fn(|cx| {
        // Not held across the wait: the future of every ending connection would contain it.
        let mut bytes = [0; 4096];
        let mut dropped = ReadBuf::new(&mut bytes);
        let read = Pin::new(&mut *stream).poll_read(cx, &mut dropped);
        read.map_ok(|()| dropped.filled().len())
    })
    .await
}

/// Checks a request's head against the limits.
fn check_head(request: &Request, limits: &Limits) -> Result<(), HttpError> {
    let too_large = |message| Err(HttpError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message));
    let headers = request.headers().len();
    if headers > limits.headers {
        return too_large(format!("the request has {headers} headers; the limit is {}", limits.headers));
    }
    let bytes = head_bytes(request.uri(), request.headers());
    if bytes > limits.head_bytes {
        return too_large(format!("the request's head has {bytes} bytes; the limit is {}", limits.head_bytes));
    }
    Ok(())
}

/// The approximate length of the head on the wire: the first line without method and version, and the headers.
fn head_bytes(uri: &Uri, headers: &HeaderMap) -> usize {
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    target + fields.sum::<usize>()
}

/// Reads the complete body of a request, within the limits.
pub async fn read_body(request: Request, limits: &Limits) -> Result<Bytes, HttpError> {
    let reading = Limited::new(request.into_body(), limits.body_bytes).collect();
    match timeout(limits.body_timeout, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(HttpError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the request's body exceeds the limit of {} bytes", limits.body_bytes),
        )),
        Ok(Err(error)) => Err(HttpError::bad_request(format!("the request's body cannot be read: {error}"))),
        Err(_) => Err(HttpError::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the request's body did not arrive within {:?}", limits.body_timeout),
        )),
    }
}
