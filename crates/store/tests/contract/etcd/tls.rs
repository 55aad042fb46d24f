//! Certificates, and settings that cannot work.

use super::*;

#[tokio::test]
async fn tls_with_client_certificates() {
    let etcd = EtcdProcess::options().tls().start().await;
    let store = etcd.store().await;
    let lease = store.grant(LEASE_TTL * 30).await.unwrap();
    make_all_calls(&store, lease).await;
    // etcd closes a connection without a certificate; the alert with the reason may or may not arrive before.
    let without = Etcd::connect(EtcdSettings { cert: None, key: None, ..etcd.settings() }).await.unwrap();
    let result = without.list(b"/t/").await;
    assert!(matches!(result, Err(StoreError::Denied(_) | StoreError::Unreachable(_))), "{result:?}");
    // An authority that did not sign etcd's certificate.
    let stranger = Authority::new(etcd.dir.path(), "stranger");
    let settings = EtcdSettings { ca_cert: Some(stranger.cert), ..etcd.settings() };
    assert_denied(Etcd::connect(settings).await.unwrap().list(b"/t/").await);
}

#[tokio::test]
async fn rotated_certificates_are_reloaded() {
    let etcd = EtcdProcess::options().tls().start().await;
    let stranger = Authority::new(etcd.dir.path(), "stranger");
    let ours = stranger.sign("rotated", IpAddr::from([127, 0, 0, 1]));
    let settings = EtcdSettings { cert: Some(ours.cert.clone()), key: Some(ours.key.clone()), ..etcd.settings() };
    let store = Etcd::connect(settings).await.unwrap();
    assert!(store.list(b"/t/").await.is_err());
    etcd.tls().authority.sign("rotated", IpAddr::from([127, 0, 0, 1]));
    // The new certificate is used.
    wait_until(TIMEOUT, async || store.list(b"/t/").await).await;
}

// Settings.

#[tokio::test]
async fn invalid_settings_are_rejected_before_any_call() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path(), "ca");
    let pair = authority.sign("client", IpAddr::from([127, 0, 0, 1]));
    let other = authority.sign("other", IpAddr::from([127, 0, 0, 1]));
    let garbage = dir.path().join("garbage.pem");
    std::fs::write(&garbage, "nothing").unwrap();
    let broken = dir.path().join("broken.pem");
    std::fs::write(&broken, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let base = EtcdSettings { endpoints: vec!["https://127.0.0.1:2379".into()], ..EtcdSettings::default() };
    let ca = EtcdSettings { ca_cert: Some(authority.cert.clone()), ..base.clone() };
    for (settings, message) in [
        (EtcdSettings { ca_cert: Some("/no/such.pem".into()), ..base.clone() }, "ca-cert /no/such.pem cannot be read"),
        (EtcdSettings { ca_cert: Some(garbage.clone()), ..base.clone() }, "holds no usable certificate"),
        (EtcdSettings { ca_cert: Some(broken), ..base.clone() }, "holds no usable certificate"),
        (EtcdSettings { key: Some(pair.key.clone()), ..ca.clone() }, "key is set without its cert"),
        (EtcdSettings { cert: Some(pair.cert.clone()), ..ca.clone() }, "cert is set without its key"),
        (
            EtcdSettings { cert: Some(pair.cert.clone()), key: Some(garbage), ..ca.clone() },
            "holds no usable private key",
        ),
        (EtcdSettings { cert: Some(pair.cert), key: Some(other.key), ..ca.clone() }, "cannot be used together"),
        (EtcdSettings { password: Some("p".into()), ..ca.clone() }, "password is set without its username"),
        (EtcdSettings { username: Some("u".into()), ..ca }, "username is set without its password"),
        (EtcdSettings { probe_interval: Duration::ZERO, ..base.clone() }, "probe-interval is zero"),
        (EtcdSettings { endpoints: vec!["http://a b:1".into()], ..base }, "is not a URL"),
    ] {
        let error: SettingsError = Etcd::connect(settings).await.unwrap_err();
        assert!(error.to_string().contains(message), "{message:?} is not in {error}");
    }
}
