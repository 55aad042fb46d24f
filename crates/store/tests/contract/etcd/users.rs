//! Users, and the tokens that they are given.

use super::*;

/// As `sky:hound`.
async fn as_user(etcd: &EtcdProcess) -> Etcd {
    let settings = EtcdSettings { username: Some("sky".into()), password: Some("hound".into()), ..etcd.settings() };
    Etcd::connect(settings).await.unwrap()
}

#[tokio::test]
async fn tokens_that_expire_are_renewed() {
    const TTL: Duration = Duration::from_secs(1);
    let mut etcd = EtcdProcess::options().arg("--auth-token-ttl=1").arg("--bcrypt-cost=4").start().await;
    etcd.enable_auth();
    let store = as_user(&etcd).await;
    let lease = store.grant(TERM * 30).await.unwrap();
    all_calls_work(&store, lease).await;
    let mut held = store.feed(b"/t/", Revision(0)).await.unwrap();
    // Each kind of call is the first after an expiry once. The time itself is what is tested: a token lives
    // on when it is used, so etcd is asked without one in between. It looks for expired ones every second.
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
        all_calls_work(&store, lease).await;
    }
    let last = commit(&store, put("c", None)).await.unwrap();
    while next(&mut held).await.revision < last {}
    // A restart forgets all tokens of this kind.
    etcd.stop().await;
    etcd.restart().await;
    all_calls_work(&store, lease).await;
}

#[tokio::test]
async fn a_change_of_users_outdates_tokens_that_are_renewed() {
    // JWT tokens carry the revision of the user table.
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "not much of a secret").unwrap();
    let jwt = format!("--auth-token=jwt,sign-method=HS256,ttl=10m,priv-key={}", secret.display());
    let etcd = EtcdProcess::options().arg(jwt).arg("--bcrypt-cost=4").start().await;
    etcd.enable_auth();
    let store = as_user(&etcd).await;
    let lease = store.grant(TERM * 30).await.unwrap();
    all_calls_work(&store, lease).await;
    for first in 0..3 {
        etcd.ctl_as(Some("root:root"), &["user", "add", &format!("new{first}:new")]);
        match first {
            0 => drop(commit(&store, put("b", None)).await.unwrap()),
            1 => drop(store.feed(b"/t/", Revision(0)).await.unwrap()),
            _ => drop(store.list(b"/t/").await.unwrap()),
        }
        all_calls_work(&store, lease).await;
    }
}

#[tokio::test]
async fn authentication_may_be_switched_on_and_off() {
    let etcd = EtcdProcess::options().arg("--bcrypt-cost=4").start().await;
    // Credentials for an etcd that asks for none.
    let store = as_user(&etcd).await;
    let lease = store.grant(TERM * 30).await.unwrap();
    all_calls_work(&store, lease).await;
    etcd.enable_auth();
    all_calls_work(&store, lease).await;
    etcd.ctl_as(Some("root:root"), &["auth", "disable"]);
    all_calls_work(&store, lease).await;
}

#[tokio::test]
async fn who_may_not_is_denied() {
    let etcd = EtcdProcess::options().arg("--bcrypt-cost=4").start().await;
    etcd.enable_auth();
    let nobody = etcd.store().await;
    is_denied(nobody.list(b"/t/").await);
    let user = |name: &str, password: &str| EtcdSettings {
        username: Some(name.into()),
        password: Some(password.into()),
        ..etcd.settings()
    };
    for (name, password) in [("sky", "wrong"), ("ghost", "hound")] {
        let store = Etcd::connect(user(name, password)).await.unwrap();
        is_denied(store.list(b"/t/").await);
        is_denied(commit(&store, put("a", None)).await);
        is_denied(store.feed(b"/t/", Revision(0)).await);
        is_denied(store.renew(&[LeaseId(1)]).await);
    }
    let store = as_user(&etcd).await;
    store.list(b"/t/").await.unwrap();
    is_denied(store.list(b"elsewhere").await);
    is_denied(store.feed(b"elsewhere", Revision(0)).await);
}
