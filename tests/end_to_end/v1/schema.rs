//! Answers against the description that the daemon itself gives of them.

use boon::{Compiler, Draft, Schemas};
use serde_json::{Value, json};

use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::sse::Sse;

const PLACE: &str = "file:///openapi.json";

/// The description, as this daemon has it.
pub struct Description(pub Value);

impl Description {
    pub async fn of(daemon: &Daemon) -> Self {
        let answer = daemon.get("/v1/openapi.json").await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        Self(serde_json::from_str(&answer.body).expect("it is JSON"))
    }

    /// Checks a value against one of the schemas of the description.
    #[track_caller]
    pub fn check(&self, pointer: &str, value: &Value) {
        // OpenAPI 3.1 schemas are those of JSON Schema 2020-12.
        let mut compiler = Compiler::new();
        compiler.set_default_draft(Draft::V2020_12);
        compiler.add_resource(PLACE, self.0.clone()).expect("a place of its own");
        let mut schemas = Schemas::new();
        let found = compiler.compile(&format!("{PLACE}#{pointer}"), &mut schemas);
        let schema = found.unwrap_or_else(|error| panic!("{pointer} is no schema: {error:#}"));
        if let Err(error) = schemas.validate(value, schema) {
            panic!("{error:#}\n{value:#}");
        }
    }

    /// The place of the schema of a path's answer with this status.
    fn of_answer(&self, path: &str, status: u16, kind: &str) -> Option<String> {
        let escaped = path.replace('/', "~1");
        let mut pointer = format!("/paths/{escaped}/get/responses/{status}");
        if let Some(reference) = self.0.pointer(&pointer)?.get("$ref") {
            pointer = reference.as_str()?.trim_start_matches('#').to_owned();
        }
        let pointer = format!("{pointer}/content/{}/schema", kind.replace('/', "~1"));
        self.0.pointer(&pointer).is_some().then_some(pointer)
    }
}

/// Requests a path and checks the response against its description.
async fn ask(daemon: &Daemon, description: &Description, target: &str, status: u16) {
    let answer = daemon.get(target).await;
    assert_eq!(answer.status, status, "{target}: {}", answer.body);
    let kind = answer.header("content-type").expect("a type").split(';').next().expect("a type");
    let path = target.split('?').next().expect("a path");
    let schema = description.of_answer(path, status, kind);
    let schema = schema.unwrap_or_else(|| panic!("{path} with {status} and {kind} is not described"));
    let value = if kind == "application/json" {
        serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{target}: {error}"))
    } else {
        Value::String(answer.body)
    };
    description.check(&schema, &value);
}

#[multi_thread_test]
async fn answers_are_as_they_are_described() {
    let daemon = Daemon::start(&[]).await;
    let description = Description::of(&daemon).await;
    let full = "service=web&host=10.0.0.1&port=1&version=1.2.3&text=t&group=g&ttl=9&meta.a=b&category=services,eu";
    let _held = (daemon.provide(full).await, daemon.provide("service=api&host=::1&port=2").await);
    for (target, status) in [
        ("/v1/services", 200),
        ("/v1/instances", 200),
        ("/v1/instances?version=new", 400),
        ("/v1/watch?last-event-id=x", 400),
        ("/v1/openapi.json", 200),
        ("/healthz", 200),
        ("/readyz", 200),
        ("/version", 200),
        ("/metrics", 200),
        ("/explain?name=web.services.skydns.local", 200),
        ("/explain", 400),
        ("/quarantine", 200),
    ] {
        ask(&daemon, &description, target, status).await;
    }
    let mut events = Sse::open(daemon.http, "/v1/watch", None).await;
    description.check("/components/schemas/Set", &events.next().await.data);
    let held = daemon.provide("service=web&port=3").await;
    description.check("/components/schemas/Instance", &events.next().await.data);
    drop(held);
    description.check("/components/schemas/Instance", &events.next().await.data);
}

#[multi_thread_test]
#[should_panic(expected = "minimum")]
async fn an_answer_that_is_not_as_described_is_found() {
    let daemon = Daemon::start(&[]).await;
    let description = Description::of(&daemon).await;
    let wrong = json!({ "position": "1.0", "services": [{ "name": "web", "instances": 0 }] });
    description.check("/components/schemas/Services", &wrong);
}
