//! Messages over TLS, which buffers bytes of its own.

use crate::hound_dog::subscriber::event;
use futures_util::StreamExt;
use serde_json::{Value, json};
use skyhound_net::tls::ClientFiles;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::pki::Authority;
use skyhound_test_support::wait::SOON;
use std::net::{Ipv4Addr, SocketAddr};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

async fn connect(daemon: &Daemon, ca: &Authority) -> TlsStream<TcpStream> {
    let files = ClientFiles { ca_cert: Some(ca.cert.clone()), identity: None };
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    let stream = socket.connect(daemon.http).await.expect("it listens");
    let connector = TlsConnector::from(files.config().expect("a certificate"));
    connector.connect(daemon.http.ip().into(), stream).await.expect("a handshake")
}

#[multi_thread_test]
async fn partially_written_messages_arrive_whole_over_tls() {
    let dir = TempDir::new().expect("a directory");
    let ca = Authority::new(dir.path(), "ca");
    let pair = ca.sign("server", Ipv4Addr::LOCALHOST.into());
    let [cert, key] = [&pair.cert, &pair.key].map(|path| path.to_str().expect("UTF-8"));
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let args = ["--enable-tls", "--tls-cert-file", cert, "--tls-key-file", key];
    let daemon = Daemon::start_on(free, free, &args).await;
    let url = format!("wss://{}/etcd/monitor?monitor=engine", daemon.http);
    let (mut subscriber, _) = client_async(url, connect(&daemon, &ca).await).await.expect("an upgrade");
    // More than the kernel's buffers take, less than the queue holds.
    let bodies: Vec<_> =
        ["a", "b", "c", "d"].map(|letter| letter.repeat(900_000)).into_iter().chain(["e".into()]).collect();
    for body in &bodies {
        let event = json!({ "event_type": "t", "event_body": body, "services": ["engine"] }).to_string();
        let mut stream = connect(&daemon, &ca).await;
        let head = format!(
            "POST /etcd/event HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            event.len()
        );
        stream.write_all(&[head.as_bytes(), event.as_bytes()].concat()).await.expect("it is read");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    }
    for body in &bodies {
        let text = loop {
            match timeout(SOON, subscriber.next()).await.expect("a message in time").expect("a living socket") {
                Ok(Message::Text(text)) => break text,
                Ok(Message::Ping(_)) => {}
                other => panic!("{other:?}"),
            }
        };
        let message: Value = serde_json::from_str(&text).expect("JSON");
        assert!(message == event("engine", "t", body), "{} bytes of {}", text.len(), &body[..1]);
    }
}
