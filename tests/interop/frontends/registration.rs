//! The rows: methods that register an instance, and deregister it.

use super::{Endpoint, until};
use futures_util::future::LocalBoxFuture;
use serde_json::json;
use skyhound_test_support::http;
use skyhound_test_support::provider::Provider;
use skyhound_test_support::site::Site;
use std::net::SocketAddr;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// A frontend that registers.
pub struct RegistrationMethod {
    pub name: &'static str,
    pub register: for<'a> fn(&'a Site, &'a str, &'a Endpoint) -> LocalBoxFuture<'a, Held>,
}

/// A registered instance.
pub enum Held {
    /// It leaves with its socket.
    Socket(Provider),
    /// It leaves with its connection.
    Line(TcpStream),
    /// It leaves with this request.
    Request { http: SocketAddr, method: &'static str, path: &'static str, body: String },
}

impl Held {
    pub async fn leave(self) {
        match self {
            Self::Socket(socket) => socket.close().await,
            Self::Line(line) => drop(line),
            Self::Request { http, method, path, body } => {
                let response = http::request(method, http, path, http::JSON, body.as_bytes()).await.expect("an answer");
                assert_eq!(response.status, 200, "{}", response.body);
            }
        }
    }
}

pub fn all() -> Vec<RegistrationMethod> {
    vec![
        RegistrationMethod {
            name: "skyapi",
            register: |site, service, endpoint| Box::pin(skyapi(site, service, endpoint)),
        },
        RegistrationMethod {
            name: "hound-dog",
            register: |site, service, endpoint| Box::pin(hound_dog(site, service, endpoint)),
        },
        RegistrationMethod {
            name: "srsr",
            register: |site, service, endpoint| Box::pin(srsr(site, service, endpoint)),
        },
        RegistrationMethod {
            name: "micro",
            register: |site, service, endpoint| Box::pin(micro(site, service, endpoint)),
        },
        RegistrationMethod {
            name: "seaport",
            register: |site, service, endpoint| Box::pin(seaport(site, service, endpoint)),
        },
    ]
}

async fn skyapi(site: &Site, service: &str, Endpoint { ip, port }: &Endpoint) -> Held {
    Held::Socket(site.provide(&format!("service={service}&host={ip}&port={port}")).await)
}

async fn hound_dog(site: &Site, service: &str, Endpoint { ip, port }: &Endpoint) -> Held {
    let target = format!("/etcd/register?service={service}&ip={ip}&port={port}");
    Held::Socket(Provider::open_for(site.http, &target).await.expect("it may register"))
}

async fn srsr(site: &Site, service: &str, Endpoint { ip, port }: &Endpoint) -> Held {
    let response = site.post("/register", &json!({ "name": service, "address": format!("http://{ip}:{port}") })).await;
    assert_eq!(response.status, 200, "{}", response.body);
    let body = json!({ "id": response.json()["id"] }).to_string();
    Held::Request { http: site.http, method: "POST", path: "/deregister", body }
}

async fn micro(site: &Site, service: &str, Endpoint { ip, port }: &Endpoint) -> Held {
    let node = json!({ "id": format!("{service}-1"), "address": ip, "port": port });
    let body = json!({ "name": service, "nodes": [node] });
    let response = site.post("/registry", &body).await;
    assert_eq!(response.status, 200, "{}", response.body);
    Held::Request { http: site.http, method: "DELETE", path: "/registry", body: body.to_string() }
}

/// Its rows have no response: a client has to query.
async fn seaport(site: &Site, service: &str, Endpoint { ip, port }: &Endpoint) -> Held {
    let mut line = TcpStream::connect(site.seaport.expect("it has a hub")).await.expect("the hub listens");
    let row = json!(["register", "of-this-peer", { "role": service, "host": ip, "port": port }]);
    line.write_all(format!("{row}\n").as_bytes()).await.expect("the hub reads");
    until("it is registered", async || {
        let response = site.get(&format!("/v1/instances?service={service}")).await.json();
        response["instances"].as_array().is_some_and(|all| all.iter().any(|one| one["host"] == json!(ip)))
    })
    .await;
    Held::Line(line)
}
