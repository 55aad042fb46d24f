//! `/rpc` in front of real JSON-RPC servers, and of servers that are not JSON-RPC.

use crate::micro::ask::{json, node, register, send};
use crate::micro::nodes;
use serde_json::{Value, json};
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::http::Response;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::SOON;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const FORM: &str = "application/x-www-form-urlencoded";

async fn call(daemon: &Daemon, body: &Value) -> Response {
    json(daemon, "POST", "/rpc", body).await
}

/// The status, id and detail of an error; the status in its body is the same.
fn error(answer: &Response) -> (u16, String, String) {
    let body: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
    assert_eq!(body["code"], answer.status, "{body}");
    let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
    assert!(!text("status").is_empty());
    (answer.status, text("id"), text("detail"))
}

/// Both forms, through both kinds of registration.
async fn hello(daemon: &Daemon, server: SocketAddr) {
    register(daemon, &node("say", "one", server.port())).await;
    let held = daemon.provide(&format!("service=held&host=127.0.0.1&port={}", server.port())).await;
    for service in ["say", "held", "SAY"] {
        for request in [json!({"name": "John"}), json!("{\"name\": \"John\"}")] {
            let answer = call(daemon, &json!({"service": service, "method": "Say.Hello", "request": request})).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(serde_json::from_str::<Value>(&answer.body).expect("JSON"), json!({"msg": "Hello John"}));
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        }
        let form = format!("service={service}&method=Say.Hello&request=%7B%22name%22:%22John%22%7D");
        let answer = send(daemon, "POST", "/rpc", FORM, &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let result: Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(result, json!({"msg": "Hello John"}));
    }
    let direct = json!({"address": server.to_string(), "method": "Debug.Health", "request": {}});
    let answer = call(daemon, &direct).await;
    assert_eq!(serde_json::from_str::<Value>(&answer.body).expect("JSON"), json!({"status": "ok"}));
    let unknown = call(daemon, &json!({"service": "say", "method": "Say.Never", "request": {}})).await;
    assert_eq!(error(&unknown).0, 500, "{unknown:?}");
    held.close().await;
}

#[multi_thread_test]
async fn a_server_in_python() {
    let Some(server) = nodes::python() else { return };
    let site = Site::memory(&[]).await;
    hello(&site, server.addr).await;
    let failed = call(&site, &json!({"service": "say", "method": "Say.Fail", "request": {}})).await;
    let (status, id, detail) = error(&failed);
    assert_eq!((status, id.as_str()), (500, "go.micro.client"));
    assert!(detail.contains("-32603"), "{detail}");
}

#[multi_thread_test]
async fn a_server_in_node() {
    let Some(server) = nodes::node() else { return };
    let site = Site::memory(&[]).await;
    hello(&site, server.addr).await;
    let began = Instant::now();
    let timed_out = call_without_response(&site, "say").await;
    assert_eq!(timed_out.0, 408);
    assert!(timed_out.2.contains(&server.addr.to_string()), "{}", timed_out.2);
    assert!(began.elapsed() < Duration::from_secs(4), "as long as it asked for, not as long as there is");
    let own = call(&site, &json!({"service": "say", "method": "Say.Conflict", "request": {}})).await;
    assert_eq!(error(&own), (409, "x".into(), "taken".into()), "a node's own error goes on with its code");
}

async fn call_without_response(daemon: &Daemon, service: &str) -> (u16, String, String) {
    let body = json!({"service": service, "method": "Say.Nothing", "request": {}}).to_string();
    let head = format!(
        "POST /rpc HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTimeout: 1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    error(&skyhound_test_support::http::send(daemon.http, head.as_bytes()).await.expect("an answer"))
}

/// A server that answers every connection with these bytes, and counts them.
async fn raw(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
            });
        }
    });
    addr
}

fn ok_response(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A port without a listener.
async fn nobody() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port").local_addr().expect("it is bound").port()
}

#[multi_thread_test]
async fn unreachable_nodes_are_skipped() {
    let site = Site::memory(&[]).await;
    let alive = raw(ok_response(r#"{"id":1,"result":"here","error":null}"#)).await;
    register(&site, &node("say", "alive", alive.port())).await;
    for dead in ["a", "b"] {
        register(&site, &node("say", dead, nobody().await)).await;
    }
    for _ in 0..30 {
        let answer = call(&site, &json!({"service": "say", "method": "M"})).await;
        assert_eq!((answer.status, answer.body.trim()), (200, "\"here\""), "{answer:?}");
    }
    for dead in ["c", "d", "e"] {
        register(&site, &node("dead", dead, nobody().await)).await;
    }
    let (status, id, detail) = error(&call(&site, &json!({"service": "dead", "method": "M"})).await);
    assert_eq!((status, id.as_str(), detail.starts_with("none of 127.0.0.1:")), (500, "go.micro.client", true));
}

/// The lower priority is called while it is reachable.
#[multi_thread_test]
async fn priorities_are_kept() {
    let site = Site::memory(&[]).await;
    let first = raw(ok_response(r#"{"result":"first"}"#)).await.port();
    let second = raw(ok_response(r#"{"result":"second"}"#)).await.port();
    let one = site.provide(&format!("service=say&host=127.0.0.1&port={first}&priority=1")).await;
    let two = site.provide(&format!("service=say&host=127.0.0.1&port={second}&priority=2&weight=1000")).await;
    for _ in 0..20 {
        assert_eq!(call(&site, &json!({"service": "say", "method": "M"})).await.body.trim(), "\"first\"");
    }
    one.close().await;
    assert_eq!(call(&site, &json!({"service": "say", "method": "M"})).await.body.trim(), "\"second\"");
    two.close().await;
}

#[multi_thread_test]
async fn failures_are_reported_with_a_reason() {
    let site = Site::memory(&[]).await;
    let large = ok_response(&format!("{{\"result\":\"{}\"}}", "x".repeat(5 << 20)));
    for (answer, why) in [
        (ok_response("hello"), "the response has status 200 OK and is not JSON-RPC"),
        (ok_response("[]"), "the response has status 200 OK and is not JSON-RPC"),
        (Vec::new(), "connection"),
        (b"SSH-2.0-x\r\n".to_vec(), "invalid HTTP version"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".to_vec(), "the response ended early"),
        (large, "the response exceeds the limit of 4194304 bytes"),
    ] {
        let address = raw(answer).await.to_string();
        let (status, id, detail) = error(&call(&site, &json!({"address": address, "method": "M"})).await);
        assert_eq!((status, id.as_str()), (500, "go.micro.client"), "{detail}");
        assert!(detail.starts_with(&address) && detail.contains(why), "{detail}");
    }
    for (body, status, why) in [
        (json!({"service": "nobody", "method": "M"}), 404, "service \"nobody\" has no nodes"),
        (json!({"service": "../x", "method": "M"}), 404, "service \"../x\" has no nodes"),
        (json!({"method": "M"}), 400, "service is missing"),
        (json!({"service": "a"}), 400, "method is missing"),
        (json!({"service": "a", "method": "M", "request": "{"}), 400, "request is not JSON"),
        (json!({"service": [], "method": "M"}), 400, "service is not a string"),
        (json!([]), 400, "the body is not a JSON object"),
        (json!({"address": "no port", "method": "M"}), 400, "address is \"no port\"; give HOST:PORT"),
        (json!({"address": "http://user@h:1/../x y", "method": "M"}), 500, "none of h:1 is reachable"),
    ] {
        let answer = call(&site, &body).await;
        let (code, _, detail) = error(&answer);
        assert_eq!(code, status, "{body}: {answer:?}");
        assert!(detail.starts_with(why), "{body}: {answer:?}");
    }
    for form in
        ["", "service=a", "service=a&service=b&method=M", "service=%FF&method=M", "service=a&method=M&request=%7B"]
    {
        let answer = send(&site, "POST", "/rpc", FORM, form).await;
        assert_eq!(error(&answer).0, 400, "{form}: {answer:?}");
    }
    let big = format!("{{\"service\":\"a\",\"method\":\"{}\"}}", "m".repeat(70_000));
    assert_eq!(error(&send(&site, "POST", "/rpc", "application/json", &big).await).0, 413);
    for timeout in ["0", "301", "-1", "soon"] {
        let late = format!(
            "POST /rpc HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTimeout: {timeout}\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = skyhound_test_support::http::send(site.http, late.as_bytes()).await.expect("an answer");
        let (status, _, detail) = error(&answer);
        assert!(status == 400 && detail.contains("give seconds from 1 to 300"), "{timeout}: {detail}");
    }
    assert_eq!(site.get("/rpc").await.status, 405);
    assert_eq!(site.get("/healthz").await.status, 200);
}

/// Concurrent calls are limited, and a client that disconnects ends its call.
#[multi_thread_test]
async fn calls_at_a_time_have_a_limit() {
    const CALLS: usize = 256;
    let site = Site::memory(&[]).await;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let unresponsive = listener.local_addr().expect("it is bound");
    let body = json!({"address": unresponsive.to_string(), "method": "M"}).to_string();
    let head = "POST /rpc HTTP/1.1\r\nHost: x\r\nTimeout: 300\r\nContent-Type: application/json";
    let request = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (mut callers, mut nodes) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        let mut caller = tokio::net::TcpStream::connect(site.http).await.expect("it listens");
        caller.write_all(request.as_bytes()).await.expect("it is open");
        callers.push(caller);
        nodes.push(tokio::time::timeout(SOON, listener.accept()).await.expect("in time").expect("a call"));
    }
    let more = call(&site, &json!({"address": unresponsive.to_string(), "method": "M"})).await;
    let (status, id, detail) = error(&more);
    assert_eq!((status, id.as_str(), detail.starts_with("256 calls are in progress")), (503, "go.micro.client", true));
    assert!(more.header("retry-after").is_some());
    drop(callers);
    for (mut node, _) in nodes {
        let mut rest = Vec::new();
        tokio::time::timeout(SOON, node.read_to_end(&mut rest)).await.expect("it hangs up").expect("in order");
    }
    let after = call(&site, &json!({"service": "nobody", "method": "M"})).await;
    assert_eq!(error(&after).0, 404, "there is room again");
}
