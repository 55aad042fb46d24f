//! HTTP within TLS: `/dns-query` as RFC 8484 has it, and the rest of what `--listen` serves.

use crate::transport::{LOCALHOST, Site, WEB, run};
use data_encoding::BASE64URL_NOPAD;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use rustls::pki_types::ServerName;
use skyhound_net::metrics::Metrics;
use skyhound_net::tls::{self, ClientFiles, Tls, TlsFiles};
use skyhound_net::{HttpServer, HttpSettings, Limits, Routes};
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::pki::Authority;
use skyhound_test_support::program;
use skyhound_test_support::wait::{SOON, wait_until};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.queries.push(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

/// `curl` with the head of the answer, as `-i` prints it.
async fn curl(site: &Site, args: &[&str]) -> (u16, String) {
    let (_, text) = run("curl", &[&["-s", "-i", "--cacert", &site.ca()], args].concat()).await;
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{args:?}: {text}")), text)
}

/// The bytes over HTTP/2 up to the name of the first event.
async fn first_event(site: &Site, url: &str) -> String {
    let mut curl = Command::new("curl")
        .args(["-s", "-i", "--no-buffer", "--http2", "--cacert", &site.ca(), url])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("curl is installed");
    let (mut out, mut text) = (BufReader::new(curl.stdout.take().unwrap()), String::new());
    while !text.contains("event: set") {
        let read = tokio::time::timeout(SOON, out.read_line(&mut text)).await.expect("an event in time");
        assert_ne!(read.unwrap(), 0, "no event but {text}");
    }
    text
}

#[multi_thread_test]
async fn doh_requests_are_answered_or_rejected_with_a_reason() {
    let site = Site::start(&[]).await;
    let _held = site.daemon.provide("service=web&port=8080&host=10.0.0.1&ttl=17").await;
    let url = format!("https://{}/dns-query", site.https());
    let ask = |name: &str| format!("{url}?dns={}", BASE64URL_NOPAD.encode(&question(name)));
    for version in ["--http1.1", "--http2"] {
        let (status, text) = curl(&site, &[version, &ask(WEB)]).await;
        let head = text.to_lowercase();
        assert_eq!((status, head.contains("http/2")), (200, version == "--http2"), "{text}");
        assert!(head.contains("content-type: application/dns-message\r\n"), "{text}");
        assert!(head.contains("cache-control: max-age=17\r\n"), "{text}");
        let (_, text) = curl(&site, &[version, &ask("nosuch.skydns.local")]).await;
        assert!(text.to_lowercase().contains("cache-control: max-age=15\r\n"), "as in the SOA: {text}");
        let (_, text) = curl(&site, &[version, &ask("example.org")]).await;
        assert!(text.to_lowercase().contains("cache-control: max-age=0\r\n"), "refused now: {text}");
    }
    let file = site.dir.path().join("message");
    let body = format!("@{}", file.display());
    std::fs::write(&file, question(WEB)).unwrap();
    let post = ["-H", "content-type: application/dns-message", "--data-binary", &body];
    assert_eq!(curl(&site, &[&post[..], &[&url]].concat()).await.0, 200);
    let untyped = ["-H", "content-type: application/json", "--data-binary", &body, &url];
    let (status, text) = curl(&site, &untyped).await;
    assert!(status == 415 && text.contains("must be application/dns-message"), "{text}");
    for (query, why) in
        [("", "the query has no dns="), ("?dns=a%2Bb", "not base64url"), ("?dns=AAAA", "is not a DNS request")]
    {
        let (status, text) = curl(&site, &[&format!("{url}{query}")]).await;
        assert!(status == 400 && text.contains(why), "{query}: {text}");
    }
    std::fs::write(&file, vec![0; 65_536]).unwrap();
    // Not over HTTP/2, where curl 7.88 now and then takes the end of the stream for the end of everything.
    assert_eq!(curl(&site, &[&post[..], &["--http1.1", &url]].concat()).await.0, 413);
    assert_eq!(curl(&site, &["-X", "PUT", &url]).await.0, 405);
    let (status, text) = curl(&site, &[&format!("https://{}/metrics", site.https())]).await;
    assert!(status == 404, "questions are all that this address takes: {text}");
    assert_eq!(site.daemon.get("/dns-query?dns=AAAA").await.status, 404, "not without TLS");
}

#[multi_thread_test]
async fn websockets_and_questions_share_an_address_with_tls() {
    let site = Site::start(&["--enable-tls"]).await;
    let url = format!("wss://{}", site.daemon.http);
    let provide = |ca: String| {
        Command::new(program())
            .args(["provide", "web", "--port", "8080", "--host", "10.0.0.1", "--server", &url, "--cacert", &ca])
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary was built with the tests")
    };
    let mut held = provide(site.ca());
    wait_until(SOON, async || {
        let answer = site.daemon.dig().query(WEB, "A").await.map_err(|error| error.to_string())?;
        if answer.data("A") == ["10.0.0.1"] { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    let ask = format!("https://{}/dns-query?dns={}", site.daemon.http, BASE64URL_NOPAD.encode(&question(WEB)));
    let (status, text) = curl(&site, &[&ask]).await;
    assert!(status == 200 && text.to_lowercase().contains("http/2"), "{text}");
    let (ok, text) =
        run(program(), &["explain", WEB, "A", "--server", &url.replace("wss", "https"), "--cacert", &site.ca()]).await;
    assert!(ok && text.contains("10.0.0.1"), "{text}");
    let asked = ["instances", "web", "--server", &url.replace("wss", "https"), "--cacert", &site.ca()];
    let (ok, text) = run(program(), &asked).await;
    assert!(ok && text.contains("10.0.0.1:8080"), "{text}");
    // Events come over HTTP/2 as well.
    let watch = format!("https://{}/v1/watch", site.daemon.http);
    assert!(first_event(&site, &watch).await.to_lowercase().starts_with("http/2 200"));
    // A client that does not trust it reports that, and tries again.
    let other = Authority::new(site.dir.path(), "other").cert.display().to_string();
    let (ok, text) =
        run(program(), &["explain", WEB, "--server", &url.replace("wss", "https"), "--cacert", &other]).await;
    assert!(!ok && text.contains("certificate"), "{text}");
    held.kill().await.unwrap();
    wait_until(SOON, async || {
        let answer = site.daemon.dig().query(WEB, "A").await.map_err(|error| error.to_string())?;
        if answer.status == "NXDOMAIN" { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    // A client without TLS gets no answer, and the daemon goes on.
    assert!(skyhound_test_support::http::get(site.daemon.http, "/healthz").await.is_err());
    let (status, _) = curl(&site, &[&format!("https://{}/healthz", site.daemon.http)]).await;
    assert_eq!(status, 200);
}

#[multi_thread_test]
async fn a_stop_does_not_wait_for_idle_connections() {
    let mut site = Site::start(&[]).await;
    let mut idle = Vec::new();
    for alpn in ["h2", "http/1.1"] {
        idle.push(shake(site.https(), &site.authority, alpn).await);
    }
    let began = std::time::Instant::now();
    assert!(site.daemon.stop().await.success());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    for mut stream in idle {
        let mut rest = Vec::new();
        // With or without a farewell.
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.expect("it is closed");
    }
}

/// A client that sends the preface of every client, and no more.
async fn shake(addr: SocketAddr, authority: &Authority, alpn: &str) -> TlsStream<TcpStream> {
    let files = ClientFiles { ca_cert: Some(authority.cert.clone()), identity: None };
    let mut config = (*files.config().unwrap()).clone();
    config.alpn_protocols = vec![alpn.into()];
    let stream = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    if alpn == "h2" {
        // The preface and an empty SETTINGS frame (RFC 9113 section 3.4).
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        let mut first = [0; 9];
        stream.read_exact(&mut first).await.unwrap();
        assert_eq!(first[3], 4, "its SETTINGS");
    }
    stream
}

#[tokio::test]
async fn idle_connections_are_closed_within_and_before_tls() {
    let dir = tempfile::TempDir::new().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    let pair = authority.sign("daemon", LOCALHOST);
    let files = TlsFiles { cert: pair.cert, key: pair.key, client_ca: None };
    let tls = Some(Tls::load(files, tls::HTTP).unwrap());
    // Three handshakes have to be done within it.
    let limits = Limits { head_timeout: Duration::from_secs(3), ..Limits::default() };
    let metrics = Arc::new(Metrics::new());
    let any = SocketAddr::new(LOCALHOST, 0);
    let server = HttpServer::bind(&[any], &HttpSettings { limits, tls }, Routes::default(), &metrics).unwrap();
    let addr = server.local_addrs()[0];
    let mut before_tls = TcpStream::connect(addr).await.unwrap();
    let mut idle = [shake(addr, &authority, "h2").await, shake(addr, &authority, "http/1.1").await];
    assert_eq!(server.drain().in_use(), 3);
    let mut rest = Vec::new();
    let gone = async {
        let _ = before_tls.read_to_end(&mut rest).await;
        for stream in &mut idle {
            let _ = stream.read_to_end(&mut rest).await;
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("they are closed");
    wait_until(SOON, async || {
        let (taken, counted) = (server.drain().in_use(), metrics.render());
        let so = taken == 0 && counted.contains("skyhound_tls_handshake_failures_total 1");
        if so { Ok(()) } else { Err(format!("{taken} connections are open\n{counted}")) }
    })
    .await;
}
