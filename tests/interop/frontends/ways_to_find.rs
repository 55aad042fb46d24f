//! The columns: how the instances of a service are found, and how one hears of them.

use super::Place;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};
use skyhound_test_support::provider::{Provider, Received};
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::SOON;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

/// A dialect that finds.
pub struct WayToFind {
    pub name: &'static str,
    /// All instances of a service, or one of them where the dialect answers with one.
    pub find: for<'a> fn(&'a Site, &'a str) -> LocalBoxFuture<'a, Vec<Place>>,
}

pub fn all() -> Vec<WayToFind> {
    vec![
        WayToFind { name: "hound-dog, the list of services", find: |site, service| Box::pin(listed(site, service)) },
        WayToFind { name: "hound-dog, nodes", find: |site, service| Box::pin(nodes(site, service)) },
        WayToFind { name: "srsr, lookup", find: |site, service| Box::pin(lookup(site, service)) },
        WayToFind { name: "micro, registry", find: |site, service| Box::pin(micro(site, service)) },
        WayToFind { name: "seaport, what its hub says", find: |site, service| Box::pin(seaport(site, service)) },
        WayToFind { name: "plain HTTP", find: |site, service| Box::pin(plain(site, service)) },
        WayToFind { name: "DNS, SRV and A", find: |site, service| Box::pin(dns(site, service)) },
    ]
}

async fn get(site: &Site, path: &str) -> Value {
    let said = site.get(path).await;
    assert_eq!(said.status, 200, "{path}: {}", said.body);
    said.json()
}

async fn nodes(site: &Site, service: &str) -> Vec<Place> {
    let said = get(site, &format!("/etcd/services/{service}")).await;
    said["services"].as_array().expect("a list").iter().map(place).collect()
}

/// The list says names only: where they are is asked of the nodes.
async fn listed(site: &Site, service: &str) -> Vec<Place> {
    let said = get(site, "/etcd/services").await;
    let named = said["services"].as_array().expect("a list").iter().filter(|one| **one == json!(service)).count();
    match named {
        0 => Vec::new(),
        1 => nodes(site, service).await,
        _ => panic!("{service} is listed {named} times"),
    }
}

async fn lookup(site: &Site, service: &str) -> Vec<Place> {
    let said = site.post("/lookup", &json!({ "name": service })).await.json();
    let address = said["address"].as_str().expect("an address");
    let Some((ip, port)) = address.strip_prefix("http://").and_then(|rest| rest.rsplit_once(':')) else {
        assert_eq!((address, &said["success"]), ("", &json!(false)));
        return Vec::new();
    };
    vec![Place { ip: ip.to_owned(), port: port.parse().expect("a port") }]
}

async fn plain(site: &Site, service: &str) -> Vec<Place> {
    let said = get(site, &format!("/v1/instances?service={service}")).await;
    let instances = said["instances"].as_array().expect("a list").iter();
    instances.map(|one| at(&one["host"], &one["port"])).collect()
}

async fn micro(site: &Site, service: &str) -> Vec<Place> {
    let said = site.get(&format!("/registry?service={service}")).await;
    if said.status == 404 {
        return Vec::new();
    }
    let versions = said.json();
    let nodes = versions.as_array().expect("a list").iter().flat_map(|one| one["nodes"].as_array().expect("a list"));
    nodes.map(|node| at(&node["address"], &node["port"])).collect()
}

/// A peer is told of everything before `synced`.
async fn seaport(site: &Site, service: &str) -> Vec<Place> {
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

async fn dns(site: &Site, service: &str) -> Vec<Place> {
    let name = format!("{service}.services.skydns.local");
    let answer = site.dig().query(&name, "SRV").await.expect("an answer");
    let address = |target: &str| {
        let found = answer.additional.iter().find(|record| record.name == target && record.rtype == "A");
        found.expect("the target's address comes along").data.clone()
    };
    answer.srv().iter().map(|srv| Place { ip: address(&srv.target), port: srv.port }).collect()
}

fn place(node: &Value) -> Place {
    at(&node["ip"], &node["port"])
}

fn at(ip: &Value, port: &Value) -> Place {
    let port = port.as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    Place { ip: ip.as_str().expect("an address").to_owned(), port }
}

/// Who hears what becomes of a service.
pub struct Ear(Provider);

impl Ear {
    pub async fn open(site: &Site, service: &str) -> Self {
        Self(Provider::open_for(site.http, &format!("/etcd/monitor?monitor={service}")).await.expect("it may listen"))
    }

    /// What happened, and the instances after it.
    pub async fn next(&mut self) -> (String, Vec<Place>) {
        let Received::Text(text) = self.0.next().await else { panic!("no message") };
        let body = serde_json::from_str::<Value>(&text).expect("JSON")["body"].clone();
        let places = body["services"].as_array().expect("a list").iter().map(place).collect();
        (body["key_event"].as_str().expect("a word").to_owned(), places)
    }
}
