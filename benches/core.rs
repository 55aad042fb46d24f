//! The inner parts alone: a change applied to the catalog, a value read, a question answered, an answer signed,
//! and what an entry takes in memory.
//!
//! `cargo bench --bench core` measures all of it, `-- apply` what has that in its name. A catalog of a million
//! entries is measured too when `SKYHOUND_BENCH_MILLION` is set. criterion keeps the last run's numbers under
//! `target/criterion` and prints the change; only a change within one sitting of a quiet machine means something.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group};
use hickory_proto::dnssec::Algorithm;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::{DNSClass, Name as WireName, RecordType};
use skyhound_core::catalog::{Health, Keyspace, Snapshot};
use skyhound_dns::dnssec::key::ZoneKey;
use skyhound_dns::dnssec::sign::Signer;
use skyhound_dns::fast::{CacheId, FastPath};
use skyhound_dns::{DnsSettings, DnsStats, Question, answer};
use skyhound_model::{Entry, Instance, Layout, Name, Naming, Registration};
use skyhound_store::{Batch, Change, Item, LeaseId, Revision};
use std::fs;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// The distribution of instances over services.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// Three of each service, as in a fleet of many small ones.
    Spread,
    /// All of one service: the widest node that there can be.
    Crowded,
}

impl Shape {
    fn name(self) -> &'static str {
        match self {
            Self::Spread => "three a service",
            Self::Crowded => "one service",
        }
    }

    fn service(self, at: usize) -> String {
        match self {
            Self::Spread => format!("service-{}", at / 3),
            Self::Crowded => "service".into(),
        }
    }
}

/// Instance number `at`, as `/provide` would register it.
fn instance(shape: Shape, at: usize) -> Instance {
    let [.., a, b, c] = at.to_be_bytes();
    let registration = Registration {
        service: shape.service(at),
        host: Ipv4Addr::new(10, a, b, c).to_string(),
        port: 8080,
        frontend: "skyapi",
        ..Registration::default()
    };
    registration.accept(&naming(), IpAddr::V4(Ipv4Addr::LOCALHOST)).expect("a registration that is right")
}

fn put(shape: Shape, at: usize, revision: u64) -> Change {
    let instance = instance(shape, at);
    Change::Put(Item {
        key: instance.key,
        value: instance.entry.encode().into(),
        revision: Revision(revision),
        lease: Some(LeaseId(1)),
    })
}

/// A daemon's with all defaults.
fn naming() -> Naming {
    Naming {
        root: name("skydns.local."),
        layout: Layout::new("/skydns"),
        default_category: "services".into(),
        default_ttl: 30,
    }
}

/// Grown as it would be by group commits.
fn catalog(shape: Shape, entries: usize) -> Snapshot {
    (0..entries).step_by(100).fold(Snapshot::empty(Keyspace::new(naming(), None)), |snapshot, from| {
        let changes = (from..entries.min(from + 100)).map(|at| put(shape, at, 1)).collect();
        snapshot.apply(&Batch { revision: Revision(1), changes })
    })
}

fn name(text: &str) -> Name {
    Name::parse(text).expect("a name that is right")
}

fn sizes() -> &'static [usize] {
    let million = std::env::var_os("SKYHOUND_BENCH_MILLION").is_some();
    if million { &[1_000, 100_000, 1_000_000] } else { &[1_000, 100_000] }
}

/// One change, and a group commit of 100, on catalogs of growing sizes: the cost should hardly grow.
fn apply(c: &mut Criterion) {
    for shape in [Shape::Spread, Shape::Crowded] {
        for &entries in sizes() {
            let before = catalog(shape, entries);
            // In the middle of what is there, where a node is full; and new ones, all over it.
            let middle = entries / 2;
            let put_again = vec![put(shape, middle, 2)];
            let delete = vec![Change::Delete(instance(shape, middle).key)];
            let new = (0..100).map(|at| put(shape, entries + at, 2)).collect();
            let mut group = c.benchmark_group(format!("apply/{}", shape.name()));
            for (what, changes) in [("put", put_again), ("delete", delete), ("100 new", new)] {
                group.throughput(Throughput::Elements(changes.len() as u64));
                let batch = Batch { revision: Revision(2), changes };
                group.bench_with_input(BenchmarkId::new(what, entries), &batch, |b, batch| {
                    b.iter_batched(|| (), |()| before.apply(black_box(batch)), BatchSize::SmallInput);
                });
            }
            group.finish();
        }
    }
}

/// A stored value as it is read from the store, and as it is written.
fn value(c: &mut Criterion) {
    let entry = instance(Shape::Spread, 1).entry;
    let ours = entry.encode();
    let plain = br#"{"host":"10.0.0.1","port":8080,"priority":1,"weight":100}"#;
    let mut group = c.benchmark_group("entry");
    group.bench_function("parse ours", |b| b.iter(|| Entry::parse(black_box(&ours))));
    group.bench_function("parse SkyDNS", |b| b.iter(|| Entry::parse(black_box(plain))));
    group.bench_function("encode", |b| b.iter(|| black_box(&entry).encode()));
    group.finish();
}

/// Questions to a catalog of 100,000, as the general path answers them, without the message around.
fn question(c: &mut Criterion) {
    let snapshot = catalog(Shape::Spread, 100_000);
    let settings = DnsSettings::new(vec![name("skydns.local.")]);
    let mut group = c.benchmark_group("answer");
    for (what, asked, qtype) in [
        ("SRV, three instances", "service-7.services.skydns.local.", RecordType::SRV),
        ("A, three instances", "service-7.services.skydns.local.", RecordType::A),
        ("NXDOMAIN", "nobody.services.skydns.local.", RecordType::SRV),
        ("NXDOMAIN, four labels", "a.b.nobody.services.skydns.local.", RecordType::A),
        ("refused", "example.org.", RecordType::A),
    ] {
        let wire = WireName::from_ascii(asked).expect("a name that is right");
        let question = Question::new(wire, qtype, DNSClass::IN).expect("a name that is right");
        let mut rotation = 0;
        group.bench_function(what, |b| {
            b.iter(|| {
                rotation += 1;
                answer(&snapshot, Health::Current, &settings, black_box(&question), rotation)
            });
        });
    }
    group.finish();
}

/// Questions over UDP on the fast path, from datagram to response: from what is kept, and when it is to be
/// made first, as after each change of the service.
fn render(c: &mut Criterion) {
    let snapshot = Arc::new(catalog(Shape::Spread, 100_000));
    let fast = FastPath::new(DnsSettings::new(vec![name("skydns.local.")]), CacheId::new(), &DnsStats::default());
    let view = fast.view(&snapshot, Health::Current).expect("a store that is followed");
    let mut group = c.benchmark_group("render");
    for (what, asked, qtype) in [
        ("kept SRV, three instances", "service-7.services.skydns.local.", RecordType::SRV),
        ("kept A, three instances", "service-7.services.skydns.local.", RecordType::A),
        ("NXDOMAIN", "nobody.services.skydns.local.", RecordType::SRV),
    ] {
        let (buffer, length) = datagram(asked, qtype);
        group.bench_function(what, |b| {
            b.iter(|| {
                // The response is written over the question.
                let mut message = buffer;
                fast.answer(&view, black_box(&mut message), length, IpAddr::V4(Ipv4Addr::LOCALHOST), 7)
                    .expect("a common question")
            });
        });
    }
    let (buffer, length) = datagram("service-7.services.skydns.local.", RecordType::SRV);
    let change = Batch { revision: Revision(2), changes: vec![put(Shape::Spread, 21, 2)] };
    group.bench_function("SRV after a change", |b| {
        let updated = || Arc::new(snapshot.apply(&change));
        b.iter_batched(
            updated,
            |updated| {
                let view = fast.view(&updated, Health::Current).expect("a store that is followed");
                let mut message = buffer;
                fast.answer(&view, &mut message, length, IpAddr::V4(Ipv4Addr::LOCALHOST), 7).expect("a common question")
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// A question as it comes over UDP, at the front of a buffer.
fn datagram(asked: &str, qtype: RecordType) -> ([u8; 1232], usize) {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.queries.push(Query::query(WireName::from_ascii(asked).expect("a name that is right"), qtype));
    message.edns = Some(Edns::new());
    let bytes = message.to_vec().expect("a message");
    let mut buffer = [0; 1232];
    buffer[..bytes.len()].copy_from_slice(&bytes);
    (buffer, bytes.len())
}

/// The signature of a set of three SRV records: kept from before, and made anew.
fn sign(c: &mut Criterion) {
    let snapshot = catalog(Shape::Spread, 1_000);
    let settings = DnsSettings::new(vec![name("skydns.local.")]);
    let asked = WireName::from_ascii("service-7.services.skydns.local.").expect("a name that is right");
    let question = Question::new(asked, RecordType::SRV, DNSClass::IN).expect("a name that is right");
    let set = answer(&snapshot, Health::Current, &settings, &question, 0).answers;
    let mut group = c.benchmark_group("sign");
    for algorithm in [Algorithm::ECDSAP256SHA256, Algorithm::ED25519, Algorithm::RSASHA256] {
        let Some(key) = key(algorithm) else { continue };
        let signer = Signer::default();
        group.bench_function(BenchmarkId::new("kept", algorithm.as_str()), |b| {
            b.iter(|| signer.sign(&key, black_box(&set), 0, || ()));
        });
        // Longer than any signature is given out.
        let mut now = 0u32;
        group.bench_function(BenchmarkId::new("anew", algorithm.as_str()), |b| {
            b.iter(|| {
                now = now.wrapping_add(30 * 24 * 3600);
                signer.sign(&key, black_box(&set), now, || ())
            });
        });
    }
    group.finish();
}

/// A new key, by way of its files. Of RSA, 2048 bits, which BIND has to make; `None` where that is not installed.
fn key(algorithm: Algorithm) -> Option<ZoneKey> {
    let dir = tempfile::tempdir().expect("a directory");
    let stem = if algorithm == Algorithm::RSASHA256 {
        let mut keygen = Command::new("dnssec-keygen");
        keygen.args(["-q", "-a", "RSASHA256", "-b", "2048", "-f", "KSK", "-K"]).arg(dir.path()).arg("skydns.local");
        let Ok(made) = keygen.output() else {
            println!("sign/RSASHA256: left out, there is no dnssec-keygen (bind9-utils)");
            return None;
        };
        dir.path().join(String::from_utf8_lossy(&made.stdout).trim())
    } else {
        let made = ZoneKey::generate(&name("skydns.local."), algorithm).expect("a key");
        let stem = dir.path().join(&made.stem);
        for (extension, text) in [("key", &made.public), ("private", &made.private)] {
            fs::write(format!("{}.{extension}", stem.display()), text).expect("a file");
        }
        stem
    };
    Some(ZoneKey::load(&stem).expect("the key that was made"))
}

/// The memory of an entry in the catalog: the growth of this process, which has done nothing else yet.
fn memory() {
    println!("memory of the catalog, by the growth of RssAnon");
    for shape in [Shape::Spread, Shape::Crowded] {
        let entries = 100_000;
        let Some(before) = resident_anonymous() else { return };
        let held = catalog(shape, entries);
        let after = resident_anonymous().unwrap_or(before);
        let each = after.saturating_sub(before) / entries;
        println!("memory/{}/{entries}: {each} bytes an entry", shape.name());
        // Kept, so that the next one does not grow into what this one leaves.
        std::mem::forget(held);
    }
}

/// proc(5): in kB. `None` outside Linux.
fn resident_anonymous() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok().map(|kb| kb * 1024)
}

criterion_group! {
    name = parts;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = apply, value, question, render, sign
}

fn main() {
    // Under `cargo test` everything runs once, to see that it does; there is nothing to measure then.
    if std::env::args_os().any(|arg| arg == "--bench") {
        memory();
    }
    parts();
    Criterion::default().configure_from_args().final_summary();
}
