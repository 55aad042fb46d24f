//! Certificates: renewed while the daemon runs, asked of clients, and wrong ones.

use crate::transport::{LOCALHOST, Site, WEB, ask, run};
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::pki::Authority;
use skyhound_test_support::program;
use skyhound_test_support::wait::{SOON, wait_until};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Checks that a client that trusts only this authority gets an answer.
async fn trusted_by(site: &Site, ca: &str) -> Result<(), String> {
    let (_, text) = ask("kdig", site.tls(), &["+tls", WEB, "A"], Some(ca)).await;
    if text.contains("status: NXDOMAIN") { Ok(()) } else { Err(text) }
}

#[multi_thread_test]
async fn a_renewed_certificate_is_used_without_a_restart_and_a_bad_one_is_not() {
    let site = Site::start(&[]).await;
    let (ca, next) = (site.ca(), Authority::new(site.dir.path(), "next"));
    let next_ca = next.cert.display().to_string();
    trusted_by(&site, &ca).await.expect("the first one");
    trusted_by(&site, &next_ca).await.expect_err("not yet");

    next.renew(&site.pair, LOCALHOST);
    wait_until(SOON, async || trusted_by(&site, &next_ca).await).await;
    trusted_by(&site, &ca).await.expect_err("no more");
    let (_, text) = run("curl", &["-s", "--cacert", &next_ca, &format!("https://{}/nothing", site.https())]).await;
    assert!(text.contains("unknown path /nothing"), "the other listener as well: {text}");

    std::fs::write(&site.pair.cert, "no certificate").unwrap();
    wait_until(SOON, async || {
        // A handshake is what looks.
        trusted_by(&site, &next_ca).await.expect("the previous certificate stays in use");
        let log = site.daemon.log();
        if log.contains("the new certificate cannot be used") { Ok(()) } else { Err(log) }
    })
    .await;
    site.authority.renew(&site.pair, LOCALHOST);
    wait_until(SOON, async || trusted_by(&site, &ca).await).await;
}

#[multi_thread_test]
async fn client_certificates_are_required_when_configured() {
    let site = Site::start(&["--enable-tls", "--tls-client-ca", "{dir}/ca.pem"]).await;
    let own = site.authority.sign("client", LOCALHOST);
    let (cert, key, ca) = (own.cert.display().to_string(), own.key.display().to_string(), site.ca());
    let (_, text) = ask("kdig", site.tls(), &["+tls", WEB, "A"], Some(&ca)).await;
    assert!(!text.contains("status:"), "without one: {text}");
    let with = [format!("+tls-certfile={cert}"), format!("+tls-keyfile={key}")];
    let (_, text) = ask("kdig", site.tls(), &["+tls", &with[0], &with[1], WEB, "A"], Some(&ca)).await;
    assert!(text.contains("status: NXDOMAIN"), "with one: {text}");
    let stranger = Authority::new(site.dir.path(), "stranger").sign("stranger-client", LOCALHOST);
    let with =
        [format!("+tls-certfile={}", stranger.cert.display()), format!("+tls-keyfile={}", stranger.key.display())];
    let (_, text) = ask("kdig", site.tls(), &["+tls", &with[0], &with[1], WEB, "A"], Some(&ca)).await;
    assert!(!text.contains("status:"), "with somebody else's: {text}");

    let url = format!("https://{}", site.daemon.http);
    let health = format!("{url}/healthz");
    let (ok, text) = run("curl", &["-s", "--cacert", &ca, &health]).await;
    assert!(!ok, "{text}");
    let (ok, text) = run("curl", &["-s", "--cacert", &ca, "--cert", &cert, "--key", &key, &health]).await;
    assert!(ok && text == "ok\n", "{text}");
    let mut held = Command::new(program())
        .args(["provide", "web", "--port", "80", "--host", "10.0.0.1", "--server", &url])
        .args(["--cacert", &ca, "--cert", &cert, "--key", &key])
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary was built with the tests");
    wait_until(SOON, async || {
        let answer = site.daemon.dig().query(WEB, "A").await.map_err(|error| error.to_string())?;
        if answer.data("A") == ["10.0.0.1"] { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    held.kill().await.unwrap();
}

#[multi_thread_test]
async fn unusable_files_are_named_with_their_flag() {
    let dir = tempfile::TempDir::new().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    let (one, two) = (authority.sign("one", LOCALHOST), authority.sign("two", LOCALHOST));
    let path = |path: &std::path::Path| path.display().to_string();
    let (cert, key, other) = (path(&one.cert), path(&one.key), path(&two.key));
    let missing = path(&dir.path().join("missing.pem"));
    let serve = ["serve", "--in-memory", "--listen", "127.0.0.1:0", "--dns-listen", "127.0.0.1:0"];
    for (args, why) in [
        (vec!["--enable-tls"], "--enable-tls: requires a certificate: give --tls-cert-file FILE".to_owned()),
        (
            vec!["--dns-tls-listen", "127.0.0.1:0", "--tls-cert-file", &cert],
            "--dns-tls-listen: requires the key of the certificate".to_owned(),
        ),
        (vec!["--tls-cert-file", &cert], "--tls-cert-file: has no effect without --enable-tls".to_owned()),
        (
            vec!["--enable-tls", "--tls-cert-file", &missing, "--tls-key-file", &key],
            format!("--tls-cert-file {missing} cannot be read: No such file"),
        ),
        (
            vec!["--enable-tls", "--tls-cert-file", &key, "--tls-key-file", &key],
            format!("--tls-cert-file {key} holds no usable certificate"),
        ),
        (
            vec!["--enable-tls", "--tls-cert-file", &cert, "--tls-key-file", &cert],
            format!("--tls-key-file {cert} holds no usable private key"),
        ),
        (
            vec!["--enable-tls", "--tls-cert-file", &cert, "--tls-key-file", &other],
            "--tls-cert-file and --tls-key-file cannot be used together".to_owned(),
        ),
        (
            vec!["--enable-tls", "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-client-ca", &missing],
            format!("--tls-client-ca {missing} cannot be read"),
        ),
    ] {
        let running = Command::new(program()).args(serve).args(&args).kill_on_drop(true).output();
        let output = tokio::time::timeout(SOON, running).await.expect("it ends").expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && stderr.contains(&why), "{args:?}: {stderr}");
    }
    let (ok, text) = run(program(), &["provide", "web", "-p", "80", "--cacert", &missing]).await;
    assert!(!ok && text.contains(&format!("--cacert {missing} cannot be read")), "{text}");
}

#[multi_thread_test]
async fn a_stalled_handshake_releases_its_connection() {
    let site = Site::start(&[]).await;
    let stalled = tokio::net::TcpStream::connect(site.tls()).await.unwrap();
    let mut byte = [0];
    let within = skyhound_dns::settings::STREAM_MESSAGE_TIMEOUT + Duration::from_secs(5);
    let end = tokio::time::timeout(within, tokio::io::AsyncReadExt::read(&mut { stalled }, &mut byte)).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    site.daemon.metric("skyhound_dns_closed_connections_total").await;
    let text = site.daemon.get("/metrics").await.body;
    assert!(text.contains("skyhound_dns_closed_connections_total{reason=\"receive_timeout\"} 1"), "{text}");
}
