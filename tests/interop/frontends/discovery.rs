//! The columns: methods that find the instances of a service, and a subscriber to its changes.

use super::Endpoint;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};
use skyhound_test_support::provider::{Provider, Received};
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::SOON;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

/// A frontend that finds.
pub struct DiscoveryMethod {
    pub name: &'static str,
    /// All instances of a service, or one of them where the frontend returns one.
    pub find: for<'a> fn(&'a Site, &'a str) -> LocalBoxFuture<'a, Vec<Endpoint>>,
}

pub fn all() -> Vec<DiscoveryMethod> {
    vec![
        DiscoveryMethod {
            name: "hound-dog, the list of services",
            find: |site, service| Box::pin(listed(site, service)),
        },
        DiscoveryMethod { name: "hound-dog, nodes", find: |site, service| Box::pin(nodes(site, service)) },
        DiscoveryMethod { name: "srsr, lookup", find: |site, service| Box::pin(lookup(site, service)) },
        DiscoveryMethod { name: "micro, registry", find: |site, service| Box::pin(micro(site, service)) },
        DiscoveryMethod {
            name: "seaport, the rows of its hub",
            find: |site, service| Box::pin(seaport(site, service)),
        },
        DiscoveryMethod { name: "plain HTTP", find: |site, service| Box::pin(plain(site, service)) },
        DiscoveryMethod { name: "DNS, SRV and A", find: |site, service| Box::pin(dns(site, service)) },
    ]
}

async fn get(site: &Site, path: &str) -> Value {
    let response = site.get(path).await;
    assert_eq!(response.status, 200, "{path}: {}", response.body);
    response.json()
}

async fn nodes(site: &Site, service: &str) -> Vec<Endpoint> {
    let response = get(site, &format!("/etcd/services/{service}")).await;
    response["services"].as_array().expect("a list").iter().map(endpoint).collect()
}

/// The list has names only: their addresses come from the nodes.
async fn listed(site: &Site, service: &str) -> Vec<Endpoint> {
    let response = get(site, "/etcd/services").await;
    let named = response["services"].as_array().expect("a list").iter().filter(|one| **one == json!(service)).count();
    match named {
        0 => Vec::new(),
        1 => nodes(site, service).await,
        _ => panic!("{service} is listed {named} times"),
    }
}

async fn lookup(site: &Site, service: &str) -> Vec<Endpoint> {
    let response = site.post("/lookup", &json!({ "name": service })).await.json();
    let address = response["address"].as_str().expect("an address");
    let Some((ip, port)) = address.strip_prefix("http://").and_then(|rest| rest.rsplit_once(':')) else {
        assert_eq!((address, &response["success"]), ("", &json!(false)));
        return Vec::new();
    };
    vec![Endpoint { ip: ip.to_owned(), port: port.parse().expect("a port") }]
}

async fn plain(site: &Site, service: &str) -> Vec<Endpoint> {
    let response = get(site, &format!("/v1/instances?service={service}")).await;
    let instances = response["instances"].as_array().expect("a list").iter();
    instances.map(|one| at(&one["host"], &one["port"])).collect()
}

async fn micro(site: &Site, service: &str) -> Vec<Endpoint> {
    let response = site.get(&format!("/registry?service={service}")).await;
    if response.status == 404 {
        return Vec::new();
    }
    let versions = response.json();
    let nodes = versions.as_array().expect("a list").iter().flat_map(|one| one["nodes"].as_array().expect("a list"));
    nodes.map(|node| at(&node["address"], &node["port"])).collect()
}

/// A peer receives every service before `synced`.
async fn seaport(site: &Site, service: &str) -> Vec<Endpoint> {
    let line = TcpStream::connect(site.seaport.expect("it has a hub")).await.expect("the hub listens");
    let mut rows = BufReader::new(line).lines();
    let mut found = Vec::new();
    loop {
        let row = tokio::time::timeout(SOON, rows.next_line()).await.expect("a row in time");
        let row: Value = serde_json::from_str(&row.expect("a row").expect("not the end")).expect("JSON");
        match row[0].as_str() {
            Some("synced") => return found,
            Some("register") if row[2]["role"].as_str().and_then(|role| role.split('@').next()) == Some(service) => {
                found.push(at(&row[2]["host"], &row[2]["port"]));
            }
            _ => {}
        }
    }
}

async fn dns(site: &Site, service: &str) -> Vec<Endpoint> {
    let name = format!("{service}.services.skydns.local");
    let answer = site.dig().query(&name, "SRV").await.expect("an answer");
    let address = |target: &str| {
        let found = answer.additional.iter().find(|record| record.name == target && record.rtype == "A");
        found.expect("the target's address comes along").data.clone()
    };
    answer.srv().iter().map(|srv| Endpoint { ip: address(&srv.target), port: srv.port }).collect()
}

fn endpoint(node: &Value) -> Endpoint {
    at(&node["ip"], &node["port"])
}

fn at(ip: &Value, port: &Value) -> Endpoint {
    let port = port.as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    Endpoint { ip: ip.as_str().expect("an address").to_owned(), port }
}

/// A subscriber to the changes of a service.
pub struct Subscriber(Provider);

impl Subscriber {
    pub async fn open(site: &Site, service: &str) -> Self {
        Self(
            Provider::open_for(site.http, &format!("/etcd/monitor?monitor={service}")).await.expect("it may subscribe"),
        )
    }

    /// The next change, and the instances after it.
    pub async fn next(&mut self) -> (String, Vec<Endpoint>) {
        let Received::Text(text) = self.0.next().await else { panic!("no message") };
        let body = serde_json::from_str::<Value>(&text).expect("JSON")["body"].clone();
        let endpoints = body["services"].as_array().expect("a list").iter().map(endpoint).collect();
        (body["key_event"].as_str().expect("a word").to_owned(), endpoints)
    }
}
