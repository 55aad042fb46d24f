//! `serve --server-name`: an app with the daemon as its sidecar.

use crate::micro::ask::service;
use skyhound_net::tls::{Tls, TlsFiles};
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::etcd::EtcdProcess;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::pki::{Authority, Pair};
use skyhound_test_support::wait::{SOON, wait_until};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// An app that answers its check with this status.
struct App {
    status: Arc<AtomicU16>,
    addr: SocketAddr,
}

impl App {
    async fn start(status: u16) -> Self {
        Self::within(status, None).await
    }

    /// Starts an app, over TLS if there is a certificate.
    async fn within(status: u16, pair: Option<Pair>) -> Self {
        let files = pair.map(|pair| TlsFiles { cert: pair.cert, key: pair.key, client_ca: None });
        let tls = files.map(|files| Tls::load(files, &[]).expect("a certificate"));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let addr = listener.local_addr().expect("it is bound");
        let status = Arc::new(AtomicU16::new(status));
        let current = Arc::clone(&status);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let status = current.load(Ordering::Relaxed);
                match &tls {
                    None => answer(stream, status).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream, status).await;
                        }
                    }
                }
            }
        });
        Self { status, addr }
    }

    fn url(&self) -> String {
        format!("http://{}/health", self.addr)
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, status: u16) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request).await;
    let answer = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: 6\r\n\r\nbroken");
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn is_there(daemon: &Daemon, there: bool) {
    wait_until(SOON, async || match service(daemon, "foo").await {
        found if found.is_some() == there => Ok(()),
        found => Err(format!("{found:?}")),
    })
    .await;
}

#[multi_thread_test]
async fn an_app_is_registered_from_start_to_stop() {
    let etcd = EtcdProcess::start().await;
    let endpoint = etcd.endpoint();
    let other = Daemon::start(&["--etcd-api", &endpoint]).await;
    assert_eq!(other.get("/health").await.status, 404, "only with an app");
    let args = ["--etcd-api", &endpoint, "--server_name", "foo", "--server_address", "127.0.0.1:9090"];
    let mut daemon = Daemon::start(&args).await;
    is_there(&other, true).await;
    let node = service(&other, "foo").await.expect("it is there")[0]["nodes"][0].clone();
    let id = node["id"].as_str().expect("an id");
    assert!(id.starts_with("foo-") && id.len() == 40, "{id}");
    assert_eq!((node["address"].as_str(), node["port"].as_u64()), (Some("127.0.0.1"), Some(9090)));
    assert_eq!(daemon.get("/health").await.body, "ok\n");
    // Killed, and started anew: the same entry, not a second one.
    daemon.kill().await;
    daemon.restart().await;
    wait_until(SOON, async || {
        let there = service(&other, "foo").await.map(|there| there[0]["nodes"].clone()).unwrap_or_default();
        match there.as_array().map(Vec::as_slice) {
            Some([one]) if one["id"] != id => Ok(()),
            _ => Err(there.to_string()),
        }
    })
    .await;
    // Regardless of `--on-stop`: it does not come back elsewhere.
    assert!(daemon.stop().await.success());
    is_there(&other, false).await;
}

#[multi_thread_test]
async fn an_app_that_fails_its_check_is_taken_out_until_it_is_well() {
    let app = App::start(500).await;
    let url = app.url();
    let daemon = Daemon::start(&[
        "--server-name",
        "foo",
        "--server-address",
        &app.addr.to_string(),
        "--healthcheck-url",
        &url,
        "--healthcheck-interval",
        "1",
        "--healthcheck-rise",
        "2",
        "--healthcheck-fall",
        "2",
    ])
    .await;
    let health_is = async |status, text: &str| {
        wait_until(SOON, async || match daemon.get("/health").await {
            answer if answer.status == status && answer.body.contains(text) => Ok(()),
            answer => Err(format!("{answer:?}")),
        })
        .await;
    };
    health_is(500, "broken").await;
    assert!(service(&daemon, "foo").await.is_none(), "an unhealthy app is not registered");
    app.status.store(200, Ordering::Relaxed);
    is_there(&daemon, true).await;
    health_is(200, "ok").await;
    app.status.store(302, Ordering::Relaxed);
    is_there(&daemon, false).await;
    health_is(503, "responded with 302").await;
    app.status.store(200, Ordering::Relaxed);
    is_there(&daemon, true).await;
    let view: serde_json::Value = serde_json::from_str(&daemon.get("/stats/view").await.body).expect("JSON");
    let kinds: Vec<_> = view["changes"].as_array().expect("a list").iter().map(|change| &change["kind"]).collect();
    assert_eq!(kinds, ["put", "expire", "put"], "{view}");
}

#[multi_thread_test]
async fn health_checks_over_https_require_a_trusted_certificate() {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = Authority::new(dir.path(), "ca");
    let pair = authority.sign("app", [127, 0, 0, 1].into());
    let app = App::within(200, Some(pair)).await;
    let url = format!("https://{}/health", app.addr);
    let address = app.addr.to_string();
    let sidecar_args = ["--server-name", "foo", "--server-address", &address, "--healthcheck-url", &url];
    // The certificate is of no authority that the system trusts.
    let strict = Daemon::start(&sidecar_args).await;
    wait_until(SOON, async || match strict.get("/health").await {
        answer if answer.status == 503 && answer.body.contains("certificate") => Ok(()),
        answer => Err(format!("{answer:?}")),
    })
    .await;
    assert!(service(&strict, "foo").await.is_none());
    let cacert = authority.cert.to_str().expect("UTF-8");
    let trusts = ["--healthcheck-cacert", cacert, "--healthcheck-interval", "1"];
    let daemon = Daemon::start(&[&sidecar_args[..], &trusts].concat()).await;
    is_there(&daemon, true).await;
    assert_eq!(daemon.get("/health").await.body, "ok\n");
    app.status.store(500, Ordering::Relaxed);
    is_there(&daemon, false).await;
}
