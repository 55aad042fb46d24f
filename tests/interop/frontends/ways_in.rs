//! The rows: how an instance comes in, and how it leaves on purpose.

use super::{Place, until};
use futures_util::future::LocalBoxFuture;
use serde_json::json;
use skyhound_test_support::http;
use skyhound_test_support::provider::Provider;
use skyhound_test_support::site::Site;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A dialect that registers.
pub struct WayIn {
    pub name: &'static str,
    pub register: for<'a> fn(&'a Site, &'a str, &'a Place) -> LocalBoxFuture<'a, Held>,
}

/// A registered instance.
pub enum Held {
    /// It leaves with its socket.
    Socket(Provider),
    /// It leaves with its connection.
    Line(TcpStream),
    /// It leaves with this request.
    Goodbye { http: SocketAddr, method: &'static str, path: &'static str, body: String },
}

impl Held {
    pub async fn leave(self) {
        match self {
            Self::Socket(socket) => socket.close().await,
            Self::Line(line) => drop(line),
            Self::Goodbye { http, method, path, body } => {
                let said = http::request(method, http, path, http::JSON, body.as_bytes()).await.expect("an answer");
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
        WayIn { name: "micro", register: |site, service, place| Box::pin(micro(site, service, place)) },
        WayIn { name: "seaport", register: |site, service, place| Box::pin(seaport(site, service, place)) },
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
    Held::Goodbye { http: site.http, method: "POST", path: "/deregister", body }
}

async fn micro(site: &Site, service: &str, Place { ip, port }: &Place) -> Held {
    let node = json!({ "id": format!("{service}-1"), "address": ip, "port": port });
    let body = json!({ "name": service, "nodes": [node] });
    let said = site.post("/registry", &body).await;
    assert_eq!(said.status, 200, "{}", said.body);
    Held::Goodbye { http: site.http, method: "DELETE", path: "/registry", body: body.to_string() }
}

/// Its rows have no answer: a client that wants to know looks.
async fn seaport(site: &Site, service: &str, Place { ip, port }: &Place) -> Held {
    let mut line = TcpStream::connect(site.seaport.expect("it has a hub")).await.expect("the hub listens");
    let row = json!(["register", "of-this-peer", { "role": service, "host": ip, "port": port }]);
    line.write_all(format!("{row}\n").as_bytes()).await.expect("the hub reads");
    until("it is registered", async || {
        let said = site.get(&format!("/v1/instances?service={service}")).await.json();
        said["instances"].as_array().is_some_and(|all| all.iter().any(|one| one["host"] == json!(ip)))
    })
    .await;
    Held::Line(line)
}
