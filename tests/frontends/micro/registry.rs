//! `/registry`, as a client of the original uses it.

use crate::micro::ask::{deregister, json, node, register, send, service};
use serde_json::json;
use skyhound_test_support::site::Site;
use skyhound_test_support::wait::{SOON, wait_until};

pub async fn a_registration_is_listed_and_in_dns_until_its_removal(site: Site) {
    assert_eq!(site.get("/registry").await.body.trim(), "[]");
    let registration = json!({
        "name": "go.micro.srv.greeter", "version": "1.0.0", "metadata": {"team": "blue"},
        "endpoints": [{
            "name": "Say.Hello",
            "request": {"name": "Request", "type": "Request", "values": [{"name": "name", "type": "string", "values": []}]},
            "response": {"name": "Response", "type": "Response", "values": []},
            "metadata": {}
        }],
        "nodes": [
            {"id": "greeter-1", "address": "127.0.0.1", "port": 9091, "metadata": {"zone": "a"}},
            {"id": "greeter-2", "address": "127.0.0.1", "port": 9092, "metadata": {}}
        ]
    });
    register(&site, &registration).await;
    // After the response this node answers with it.
    assert_eq!(service(&site, "go.micro.srv.greeter").await, Some(json!([registration])));
    assert_eq!(service(&site, "GO.micro.srv.greeter").await, Some(json!([registration])));
    let list = site.get("/registry").await;
    assert_eq!(list.body.trim(), r#"[{"name":"go.micro.srv.greeter"}]"#);
    assert_eq!(list.header("access-control-allow-origin"), Some("*"));
    let dns = site.dig().query("go.micro.srv.greeter.services.skydns.local", "SRV").await.expect("an answer");
    assert_eq!(dns.ports(), [9091, 9092]);

    let id = json!({"Name": "go.micro.srv.greeter", "Nodes": [{"Id": "greeter-1"}]});
    deregister(&site, &id).await;
    deregister(&site, &id).await;
    let left = service(&site, "go.micro.srv.greeter").await.expect("one is left");
    assert_eq!((left[0]["nodes"].as_array().map(Vec::len), &left[0]["nodes"][0]["id"]), (Some(1), &json!("greeter-2")));
    deregister(&site, &registration).await;
    assert_eq!(service(&site, "go.micro.srv.greeter").await, None);
    let dns = site.dig().query("go.micro.srv.greeter.services.skydns.local", "SRV").await.expect("an answer");
    assert_eq!(dns.status, "NXDOMAIN");
}

pub async fn nodes_of_versions_and_of_other_frontends_are_listed(site: Site) {
    // As the original's README posts it.
    let readme =
        json!({"Name": "foo.bar", "Nodes": [{"Port": 9091, "Address": "127.0.0.1", "Id": "foo.bar-017da09a"}]});
    register(&site, &readme).await;
    register(&site, &json!({"name": "foo.bar", "version": "latest", "nodes": [{"id": "b", "port": 2}]})).await;
    let held = site.provide("service=foo.bar&port=3&host=127.0.0.1&version=2.0.0&meta.a=b").await;
    let versions = service(&site, "foo.bar").await.expect("it is there");
    let shown: Vec<_> =
        versions.as_array().expect("a list").iter().map(|v| (&v["version"], &v["nodes"][0]["port"])).collect();
    assert_eq!(shown, [(&json!(""), &json!(9091)), (&json!("2.0.0"), &json!(3)), (&json!("latest"), &json!(2))]);
    assert_eq!(versions[1]["nodes"][0]["metadata"], json!({"a": "b"}));
    assert_eq!(versions[0]["nodes"][0]["id"], "foo.bar-017da09a");
    held.close().await;
    wait_until(SOON, async || match service(&site, "foo.bar").await {
        Some(left) if left.as_array().map(Vec::len) == Some(2) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

pub async fn invalid_registrations_are_refused_with_a_reason(site: Site) {
    let before = site.readyz().await["store"]["revision"].clone();
    let long = format!(r#"{{"name":"{}","nodes":[{{"port":1}}]}}"#, "x".repeat(64));
    let deep = "[".repeat(200);
    let big = format!(r#"{{"name":"a","nodes":[{{"port":1}}],"metadata":{{"x":"{}"}}}}"#, "y".repeat(70_000));
    for (body, status, why) in [
        ("", 400, "the body is not JSON"),
        ("{\"name\":\"a\"", 400, "the body is not JSON"),
        (deep.as_str(), 400, "the body is not JSON: recursion limit exceeded"),
        ("null", 400, "the body is not a JSON object"),
        ("{\"name\":\"a\"}", 400, "nodes is empty"),
        ("{\"name\":\"a\",\"nodes\":[]}", 400, "nodes is empty"),
        ("{\"name\":\"a\",\"nodes\":[null]}", 400, "nodes has an element that is not an object"),
        ("{\"name\":\"\",\"nodes\":[{\"port\":1}]}", 400, "service is missing"),
        ("{\"name\":\"../x\",\"nodes\":[{\"port\":1}]}", 400, "service"),
        ("{\"name\":\"*\",\"nodes\":[{\"port\":1}]}", 400, "service"),
        ("{\"name\":\"a\",\"nodes\":[{\"port\":70000}]}", 400, "port is 70000"),
        ("{\"name\":\"a\",\"nodes\":[{\"address\":\"a b\",\"port\":1}]}", 400, "host"),
        ("{\"name\":\"a\",\"ttl\":\"x\",\"nodes\":[{\"port\":1}]}", 400, "service has ttl: \"x\""),
        ("{\"name\":\"a\",\"nodes\":[{\"port\":1,\"metadata\":7}]}", 400, "nodes has metadata: 7"),
        (long.as_str(), 400, "service \"xxx"),
        (big.as_str(), 413, "the request's body exceeds the limit of 65536 bytes"),
    ] {
        let answer = send(&site, "POST", "/registry", "application/json", body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.body.starts_with(why) && answer.body.lines().count() == 1, "{body}: {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "a page may read why");
    }
    for (path, why) in [
        ("/registry?ttl=x", "ttl is \"x\"; give seconds from 2 to 86400"),
        ("/registry?ttl=1", "ttl is \"1\""),
        ("/registry?ttl=86401", "ttl is"),
        ("/registry?ttl=-3", "ttl is"),
    ] {
        let answer = json(&site, "POST", path, &node("a", "1", 1)).await;
        assert!(answer.status == 400 && answer.body.starts_with(why), "{path}: {answer:?}");
    }
    for (body, status, why) in [
        (r#"{"name":"a","nodes":[{}]}"#, 400, "port is 0"),
        (r#"{"name":"a"}"#, 400, "nodes is empty"),
        (r#"{"name":"a","nodes":[]}"#, 400, "nodes is empty"),
        (r#"{"nodes":[{"id":"x"}]}"#, 400, "service is missing"),
        ("{\"name\"", 400, "the body is not JSON"),
        ("", 400, "the body is not JSON"),
        (big.as_str(), 413, "the request's body exceeds the limit of 65536 bytes"),
    ] {
        let gone = send(&site, "DELETE", "/registry", "application/json", body).await;
        assert!(gone.status == status && gone.body.starts_with(why), "{body}: {gone:?}");
    }
    for query in ["service=never", "service=../x", "service=%2a"] {
        let unknown = site.get(&format!("/registry?{query}")).await;
        assert_eq!((unknown.status, unknown.body.trim()), (404, "Service not found"), "{query}");
    }
    assert_eq!(site.readyz().await["store"]["revision"], before, "nothing was written");
    assert_eq!(send(&site, "PATCH", "/registry", "", "").await.status, 405);
    let preflight = send(&site, "OPTIONS", "/registry", "", "").await;
    assert_eq!(preflight.status, 200);
    assert!(preflight.header("access-control-allow-methods").is_some_and(|methods| methods.contains("DELETE")));
    register(&site, &node("a", "1", 1)).await;
}
