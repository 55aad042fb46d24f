//! The rows: how an instance comes in, and how it leaves on purpose.

use super::Place;
use crate::support::http;
use crate::support::provider::Provider;
use crate::support::site::Site;
use futures_util::future::BoxFuture;
use serde_json::json;
use std::net::SocketAddr;

/// A dialect that registers.
pub struct WayIn {
    pub name: &'static str,
    pub register: for<'a> fn(&'a Site, &'a str, &'a Place) -> BoxFuture<'a, Held>,
}

/// A registered instance.
pub enum Held {
    /// It leaves with its socket.
    Socket(Provider),
    /// It leaves with this request.
    Goodbye { http: SocketAddr, path: &'static str, body: String },
}

impl Held {
    pub async fn leave(self) {
        match self {
            Self::Socket(socket) => socket.close().await,
            Self::Goodbye { http, path, body } => {
                let said = http::post(http, path, "application/json", body.as_bytes()).await.expect("an answer");
                assert_eq!(said.status, 200, "{}", said.body);
            }
        }
    }
}

pub fn all() -> Vec<WayIn> {
    vec![
        WayIn { name: "skyapi", register: |site, service, place| Box::pin(skyapi(site, service, place)) },
        WayIn { name: "hound-dog", register: |site, service, place| Box::pin(hound_dog(site, service, place)) },
        WayIn { name: "srsr", register: |site, service, place| Box::pin(srsr(site, service, place)) },
    ]
}

async fn skyapi(site: &Site, service: &str, Place { ip, port }: &Place) -> Held {
    Held::Socket(site.provide(&format!("service={service}&host={ip}&port={port}")).await)
}

async fn hound_dog(site: &Site, service: &str, Place { ip, port }: &Place) -> Held {
    let target = format!("/etcd/register?service={service}&ip={ip}&port={port}");
    Held::Socket(Provider::open_for(site.http, &target).await.expect("it may register"))
}

async fn srsr(site: &Site, service: &str, Place { ip, port }: &Place) -> Held {
    let said = site.post("/register", &json!({ "name": service, "address": format!("http://{ip}:{port}") })).await;
    assert_eq!(said.status, 200, "{}", said.body);
    let body = json!({ "id": said.json()["id"] }).to_string();
    Held::Goodbye { http: site.http, path: "/deregister", body }
}
