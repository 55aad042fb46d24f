//! Users and their tokens.

use super::*;

/// Connects as `sky:hound`.
async fn as_user(etcd: &EtcdProcess) -> Etcd {
    let settings = EtcdSettings { username: Some("sky".into()), password: Some("hound".into()), ..etcd.settings() };
    Etcd::connect(settings).await.unwrap()
}

#[tokio::test]
async fn expired_tokens_are_replaced() {
    const TTL: Duration = Duration::from_secs(1);
    let mut etcd = EtcdProcess::options().arg("--auth-token-ttl=1").arg("--bcrypt-cost=4").start().await;
    etcd.enable_auth();
    let store = as_user(&etcd).await;
    let lease = store.grant(LEASE_TTL * 30).await.unwrap();
    make_all_calls(&store, lease).await;
    let mut long_lived = store.feed(b"/t/", Revision(0)).await.unwrap();
    // Each kind of call is once the first after an expiry. The test needs the real time: using a token extends it, so the
    // health checks in between use none. etcd looks for expired tokens every second.
    for first in 0..4 {
        holds_for(TTL + Duration::from_millis(1500), async || {
            if etcd.is_healthy().await { Ok(()) } else { Err("etcd is not healthy") }
        })
        .await;
        match first {
            0 => drop(commit(&store, put("b", None)).await.unwrap()),
            1 => drop(store.feed(b"/t/", Revision(0)).await.unwrap()),
            2 => assert_eq!(store.renew(&[lease]).await.unwrap(), [true]),
            _ => drop(store.list(b"/t/").await.unwrap()),
        }
        make_all_calls(&store, lease).await;
    }
    let last = commit(&store, put("c", None)).await.unwrap();
    while next(&mut long_lived).await.revision < last {}
    // A restart invalidates all tokens of this kind.
    etcd.stop().await;
    etcd.restart().await;
    make_all_calls(&store, lease).await;
}

#[tokio::test]
async fn tokens_are_replaced_after_a_change_of_users() {
    // JWT tokens carry the revision of the user table.
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "not much of a secret").unwrap();
    let jwt = format!("--auth-token=jwt,sign-method=HS256,ttl=10m,priv-key={}", secret.display());
    let etcd = EtcdProcess::options().arg(jwt).arg("--bcrypt-cost=4").start().await;
    etcd.enable_auth();
    let store = as_user(&etcd).await;
    let lease = store.grant(LEASE_TTL * 30).await.unwrap();
    make_all_calls(&store, lease).await;
    for first in 0..3 {
        etcd.ctl_as(Some("root:root"), &["user", "add", &format!("new{first}:new")]);
        match first {
            0 => drop(commit(&store, put("b", None)).await.unwrap()),
            1 => drop(store.feed(b"/t/", Revision(0)).await.unwrap()),
            _ => drop(store.list(b"/t/").await.unwrap()),
        }
        make_all_calls(&store, lease).await;
    }
}

#[tokio::test]
async fn authentication_can_be_enabled_and_disabled() {
    let etcd = EtcdProcess::options().arg("--bcrypt-cost=4").start().await;
    // Credentials for an etcd without authentication.
    let store = as_user(&etcd).await;
    let lease = store.grant(LEASE_TTL * 30).await.unwrap();
    make_all_calls(&store, lease).await;
    etcd.enable_auth();
    make_all_calls(&store, lease).await;
    etcd.ctl_as(Some("root:root"), &["auth", "disable"]);
    make_all_calls(&store, lease).await;
}

#[tokio::test]
async fn missing_permissions_are_denied() {
    let etcd = EtcdProcess::options().arg("--bcrypt-cost=4").start().await;
    etcd.enable_auth();
    let anonymous = etcd.store().await;
    assert_denied(anonymous.list(b"/t/").await);
    let user = |name: &str, password: &str| EtcdSettings {
        username: Some(name.into()),
        password: Some(password.into()),
        ..etcd.settings()
    };
    for (name, password) in [("sky", "wrong"), ("ghost", "hound")] {
        let store = Etcd::connect(user(name, password)).await.unwrap();
        assert_denied(store.list(b"/t/").await);
        assert_denied(commit(&store, put("a", None)).await);
        assert_denied(store.feed(b"/t/", Revision(0)).await);
        assert_denied(store.renew(&[LeaseId(1)]).await);
    }
    let store = as_user(&etcd).await;
    store.list(b"/t/").await.unwrap();
    assert_denied(store.list(b"elsewhere").await);
    assert_denied(store.feed(b"elsewhere", Revision(0)).await);
}
