//! The records of a file, into a store. It is the store's own interface that they go through, so that the
//! values are what the vectors say and nothing of ours has touched them.

use crate::conformance::vectors::File;
use skyhound_model::Key;
use skyhound_store::{LeaseId, Op, Store, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// Puts everything; removes what else stands below `/skydns/`.
pub async fn load(store: &dyn Store, file: &File, upstream: Option<SocketAddr>) {
    let mut writes = Vec::new();
    for item in store.list(b"/skydns/").await.unwrap().items {
        writes.push(Write { guards: Vec::new(), ops: vec![Op::Delete { key: item.key }] });
    }
    commit(store, std::mem::take(&mut writes)).await;
    for record in &file.records {
        let lease = match record.lease {
            Some(seconds) => Some(store.grant(Duration::from_secs(seconds)).await.unwrap()),
            None => None,
        };
        let value = record.raw.clone().unwrap_or_else(|| record.value.as_ref().unwrap().to_string());
        writes.push(put(&record.key, with_upstream(value, upstream), lease));
    }
    for many in &file.record_templates {
        for i in many.from..many.from + many.count {
            let numbered = |text: &str| text.replace("{i}", &i.to_string());
            writes.push(put(&numbered(&many.key), numbered(&many.value.to_string()), None));
        }
    }
    commit(store, writes).await;
}

fn put(key: &str, value: String, lease: Option<LeaseId>) -> Write {
    let op = Op::Put { key: Key::from(key), value: value.into(), lease };
    Write { guards: Vec::new(), ops: vec![op] }
}

async fn commit(store: &dyn Store, writes: Vec<Write>) {
    for group in writes.chunks(100) {
        store.commit(group.to_vec()).await.unwrap();
    }
}

/// The stub resolver's address, where a value asks for it.
fn with_upstream(value: String, upstream: Option<SocketAddr>) -> String {
    match upstream {
        Some(at) => {
            value.replace("$UPSTREAM_HOST", &at.ip().to_string()).replace("\"$UPSTREAM_PORT\"", &at.port().to_string())
        }
        None => value,
    }
}
