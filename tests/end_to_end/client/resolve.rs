//! The targets that a `Resolver` makes of a server's responses.

use super::dns::{Answers, serve};
use super::soon;
use hickory_proto::op::ResponseCode;
use skyhound_client::{Rcode, ResolveError, Resolver, Target};
use std::net::SocketAddr;

/// A name below `.local`, which resolvers like to treat as mDNS.
const NAME: &str = "web.services.skydns.local";

async fn resolve(answers: Answers) -> Result<Vec<Target>, ResolveError> {
    let resolver = Resolver::with_server(serve(answers).await);
    soon(resolver.resolve(NAME)).await
}

fn sockets(targets: &[Target]) -> Vec<SocketAddr> {
    targets.iter().flat_map(Target::sockets).collect()
}

#[tokio::test]
async fn targets_come_with_addresses_and_in_order() {
    for answers in [Answers::Three, Answers::ThreeWithoutAddresses, Answers::OnlyByTcp] {
        let targets = resolve(answers).await.unwrap();
        let first = Target {
            host: format!("i1.{NAME}"),
            addrs: vec!["127.0.0.1".parse().unwrap()],
            port: 8081,
            priority: 1,
            weight: 100,
            ttl: 30,
        };
        assert_eq!(targets[0], first, "{answers:?}");
        let mut all = sockets(&targets);
        all.sort_unstable();
        let expected = ["127.0.0.1:8081", "127.0.0.2:8082", "127.0.0.3:8083"];
        assert_eq!(all, expected.map(|socket| socket.parse().unwrap()), "{answers:?}");
    }
}

#[tokio::test]
async fn nothing_is_an_answer() {
    for answers in [Answers::Nothing, Answers::NotAvailable, Answers::Code(ResponseCode::NXDomain)] {
        assert_eq!(resolve(answers).await.unwrap(), [], "{answers:?}");
    }
}

#[tokio::test]
async fn no_answer_is_not_nothing() {
    let failed = resolve(Answers::Code(ResponseCode::ServFail)).await;
    assert!(matches!(failed, Err(ResolveError::Failed { rcode: Rcode::SERVFAIL, .. })), "{failed:?}");
    let refused = resolve(Answers::Code(ResponseCode::Refused)).await;
    assert!(matches!(refused, Err(ResolveError::Refused { .. })), "{refused:?}");
    let resolver = Resolver::with_server("127.0.0.1:9".parse().unwrap());
    for odd in ["", "a..b", &"x".repeat(64)] {
        let error = soon(resolver.resolve(odd)).await;
        assert!(matches!(error, Err(ResolveError::Name { .. })), "{odd:?}: {error:?}");
    }
}
