//! Both of the field's clients, over every transport.

use crate::transport::{Site, WEB, ask};
use skyhound_test_support::multi_thread_test;

#[multi_thread_test]
async fn every_client_gets_the_same_over_every_transport() {
    let site = Site::start(&[]).await;
    let _held = site.daemon.provide("service=web&port=8080&host=10.0.0.1").await;
    let (dns, tls, https) = (site.daemon.dns, site.tls(), site.https());
    for (program, addr, how) in [
        ("kdig", dns, "+notcp"),
        ("kdig", dns, "+tcp"),
        ("kdig", tls, "+tls"),
        ("kdig", https, "+https"),
        ("kdig", https, "+https-get"),
        ("dig", dns, "+tcp"),
        ("dig", tls, "+tls"),
        ("dig", https, "+https"),
        ("dig", https, "+https-get"),
    ] {
        let ca = site.ca();
        let ca = (addr != dns).then_some(ca.as_str());
        let (ok, text) = ask(program, addr, &[how, WEB, "A", "+short"], ca).await;
        assert!(ok && text.trim() == "10.0.0.1", "{program} {how}: {text}");
    }
    let text = site.daemon.get("/metrics").await.body;
    for (over, times) in [("udp", 1), ("tcp", 2), ("tls", 2), ("https", 4)] {
        let line = format!("skyhound_dns_requests_total{{transport=\"{over}\"}} {times}");
        assert!(text.lines().any(|there| there == line), "{line} is not in\n{text}");
    }
}

#[multi_thread_test]
async fn denied_clients_are_refused_or_disconnected() {
    let site = Site::start(&["--dns-deny", "127.0.9.0/24"]).await;
    let (dns, tls, https) = (site.daemon.dns, site.tls(), site.https());
    for (addr, how, refused) in
        [(dns, "+notcp", true), (dns, "+tcp", false), (tls, "+tls", false), (https, "+https", true)]
    {
        let (_, text) = ask("kdig", addr, &["-b", "127.0.9.1", how, WEB, "A"], None).await;
        assert_eq!(text.contains("status: REFUSED"), refused, "{how}: {text}");
        assert!(!text.contains("status: NXDOMAIN"), "{how}: {text}");
        let (_, text) = ask("kdig", addr, &["-b", "127.0.8.1", how, WEB, "A"], None).await;
        assert!(text.contains("status: NXDOMAIN"), "{how}: {text}");
    }
    let text = site.daemon.get("/metrics").await.body;
    assert!(text.contains("skyhound_dns_closed_connections_total{reason=\"denied\"} 2\n"), "{text}");
}

#[multi_thread_test]
async fn many_questions_share_one_connection() {
    let site = Site::start(&[]).await;
    let _held = site.daemon.provide("service=web&port=8080&host=10.0.0.1").await;
    for (addr, how) in [(site.tls(), "+tls"), (site.https(), "+https"), (site.daemon.dns, "+tcp")] {
        // kdig's options stand before each of its questions.
        let one = [how, "+keepopen", "+short", WEB, "A"];
        let (ok, text) = ask("kdig", addr, &one.repeat(20), None).await;
        assert!(ok && text.lines().filter(|line| *line == "10.0.0.1").count() == 20, "{how}: {text}");
    }
    assert!(site.daemon.metric("skyhound_dns_closed_connections_total").await <= 2.0, "one of TLS, one of TCP");
}

#[multi_thread_test]
async fn padded_queries_get_padded_responses() {
    let site = Site::start(&[]).await;
    for (addr, how) in [(site.tls(), "+tls"), (site.https(), "+https")] {
        let (_, text) = ask("kdig", addr, &[how, "+padding", WEB, "A"], None).await;
        assert!(text.contains("Received 468 B"), "{how}: {text}");
        let (_, text) = ask("kdig", addr, &[how, "+nopadding", WEB, "A"], None).await;
        assert!(text.contains("status: NXDOMAIN") && !text.contains("PADDING"), "{how}: {text}");
    }
}

#[multi_thread_test]
async fn dns_can_be_on_tls_alone() {
    let dir = tempfile::TempDir::new().unwrap();
    let pair = crate::transport::Authority::new(dir.path(), "ca").sign("daemon", crate::transport::LOCALHOST);
    let mut child = tokio::process::Command::new(skyhound_test_support::program())
        .args([
            "serve",
            "--in-memory",
            "--listen",
            "127.0.0.1:0",
            "--dns-listen",
            "off",
            "--dns-tls-listen",
            "127.0.0.1:0",
        ])
        .arg("--tls-cert-file")
        .arg(&pair.cert)
        .arg("--tls-key-file")
        .arg(&pair.key)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let line = lines.next_line().await.unwrap().expect("it listens");
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(ready["dns"], serde_json::json!([]), "{line}");
    let addr = ready["dns_tls"][0].as_str().unwrap().parse().unwrap();
    let (_, text) = ask("kdig", addr, &["+tls", WEB, "A"], None).await;
    assert!(text.contains("status: NXDOMAIN"), "{text}");
    assert!(child.try_wait().unwrap().is_none(), "it goes on");
}
