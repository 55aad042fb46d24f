//! Static zones (`--zone NAME=FILE`), asked with `dig`.

use serde_json::Value;
use skyhound_test_support::daemon::Daemon;
use skyhound_test_support::dig::{Answer, Dig};
use skyhound_test_support::dnskey::KeyFiles;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::program;
use skyhound_test_support::wait::{SOON, wait_until};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::process::Command;

const ZONE: &str = r#"$TTL 300
@       IN SOA ns1 hostmaster ( 2026010101 ; serial
                7200 1800 86400 60 )
        IN NS  ns1
        IN NS  ns2
        IN MX  10 mail
        IN MX  20 @
        IN CAA 0 issue "letsencrypt.org"
        IN TXT ( "v=spf1 -all; really" "two" )
        IN A   10.0.0.80
ns1     IN A   10.0.0.53
ns2     IN AAAA 2001:db8::53
mail    IN A   10.0.0.25
*.wild  IN TXT "any"
here.wild IN A 10.0.0.7
www     IN CNAME web.services.skydns.local.
gone    IN CNAME nosuch
sub     IN NS  ns.sub
sub     IN NS  ns.elsewhere.test.
ns.sub  IN A   10.0.0.54
ns.sub  IN AAAA 2001:db8::54
$INCLUDE many.inc
"#;

/// A directory with one zone file.
struct Files {
    dir: TempDir,
}

impl Files {
    fn new() -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap() };
        files.write("zone", ZONE);
        let many: Vec<_> = (0..60).map(|i| format!("many IN TXT \"{i:040}\"\n")).collect();
        let glue =
            |i| format!("wide NS server{i}.wide\nserver{i}.wide A 10.1.0.{i}\nserver{i}.wide AAAA 2001:db8::{i}\n");
        let wide: Vec<_> = (1..=10).map(glue).collect();
        files.write("many.inc", &(many.concat() + &wide.concat()));
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Replaces a file at once, as a deployment of zones should.
    fn write(&self, name: &str, content: &str) {
        let new = self.path("new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
    }

    fn flag(&self, zone: &str) -> String {
        format!("--zone={zone}={}", self.path("zone").display())
    }
}

fn lines(records: &[skyhound_test_support::dig::Record]) -> Vec<String> {
    records.iter().map(|r| format!("{} {} {} {}", r.name, r.ttl, r.rtype, r.data)).collect()
}

async fn ask(dig: &Dig, name: &str, rtype: &str) -> Answer {
    dig.query(name, rtype).await.unwrap()
}

#[multi_thread_test]
async fn a_zone_file_is_answered_over_udp_and_tcp() {
    let files = Files::new();
    let daemon = Daemon::start(&[&files.flag("corp.test")]).await;
    let _web = daemon.provide("service=web&port=80&host=10.0.0.1").await;
    for dig in [daemon.dig(), daemon.dig().tcp()] {
        let mx = ask(&dig, "Corp.test", "MX").await;
        assert_eq!(mx.data("MX"), ["10 mail.corp.test.", "20 corp.test."]);
        assert!(mx.authoritative() && mx.answer.iter().all(|r| r.name == "Corp.test."), "{mx:?}");
        let mut helpful = lines(&mx.additional);
        helpful.sort();
        assert_eq!(helpful, ["corp.test. 300 A 10.0.0.80", "mail.corp.test. 300 A 10.0.0.25"]);
        assert_eq!(ask(&dig, "corp.test", "CAA").await.data("CAA"), [r#"0 issue "letsencrypt.org""#]);
        assert_eq!(ask(&dig, "corp.test", "TXT").await.data("TXT"), [r#""v=spf1 -all; really" "two""#]);
        assert_eq!(ask(&dig, "corp.test", "NS").await.data("NS"), ["ns1.corp.test.", "ns2.corp.test."]);
        let soa = "corp.test. 60 SOA ns1.corp.test. hostmaster.corp.test. 2026010101 7200 1800 86400 60";
        for (name, rtype, status) in [
            ("nosuch.corp.test", "A", "NXDOMAIN"),
            ("mail.corp.test", "AAAA", "NOERROR"),
            ("wild.corp.test", "TXT", "NOERROR"),
            ("here.wild.corp.test", "TXT", "NOERROR"),
        ] {
            let none = ask(&dig, name, rtype).await;
            assert_eq!((none.status.as_str(), none.answer.len()), (status, 0), "{name}");
            assert!(none.authoritative() && lines(&none.authority) == [soa], "{none:?}");
        }
        let wild = ask(&dig, "a.b.wild.corp.test", "TXT").await;
        assert_eq!(lines(&wild.answer), [r#"a.b.wild.corp.test. 300 TXT "any""#]);
        let referral = ask(&dig.clone().no_recursion(), "www.sub.corp.test", "A").await;
        assert!(!referral.authoritative() && referral.answer.is_empty() && referral.status == "NOERROR");
        let mut servers = lines(&referral.authority);
        servers.sort();
        assert_eq!(servers, ["sub.corp.test. 300 NS ns.elsewhere.test.", "sub.corp.test. 300 NS ns.sub.corp.test."]);
        let mut glue = lines(&referral.additional);
        glue.sort();
        assert_eq!(glue, ["ns.sub.corp.test. 300 A 10.0.0.54", "ns.sub.corp.test. 300 AAAA 2001:db8::54"]);
        let alias = ask(&dig, "www.corp.test", "A").await;
        assert_eq!(alias.data("CNAME"), ["web.services.skydns.local."]);
        assert_eq!(alias.data("A"), ["10.0.0.1"], "an alias is followed into a dynamic zone");
        let gone = ask(&dig, "gone.corp.test", "A").await;
        assert_eq!(
            (gone.status.as_str(), gone.data("CNAME"), gone.authority.len()),
            ("NXDOMAIN", vec!["nosuch.corp.test."], 1)
        );
        assert_eq!(ask(&dig, "corp.test", "ANY").await.status, "REFUSED");
        assert_eq!(ask(&dig, "web.services.skydns.local", "A").await.data("A"), ["10.0.0.1"]);
        for (opcode, status) in [("NOTIFY", "NOTIMP"), ("UPDATE", "NOTIMP")] {
            let refused = ask(&dig.clone().option(format!("+opcode={opcode}")), "corp.test", "SOA").await;
            assert_eq!((refused.status.as_str(), refused.answer.len()), (status, 0));
        }
    }
    assert_eq!(ask(&daemon.dig(), "corp.test", "IXFR=1").await.status, "REFUSED");
    let axfr = Command::new("dig")
        .args([&format!("@{}", daemon.dns.ip()), "-p", &daemon.dns.port().to_string(), "corp.test", "AXFR"])
        .output()
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&axfr.stdout).contains("Transfer failed"), "{axfr:?}");
}

#[multi_thread_test]
async fn a_large_answer_is_truncated_over_udp_and_whole_over_tcp() {
    let files = Files::new();
    let daemon = Daemon::start(&[&files.flag("corp.test")]).await;
    for dig in [daemon.dig().bufsize(1232), daemon.dig().no_edns(), daemon.dig().bufsize(600)] {
        assert!(ask(&dig.clone().ignore_truncation(), "many.corp.test", "TXT").await.truncated());
        let whole = ask(&dig, "many.corp.test", "TXT").await;
        assert!(whole.retried_over_tcp && whole.answer.len() == 60, "{whole:?}");
    }
    let referral = ask(&daemon.dig().no_edns(), "x.wide.corp.test", "A").await;
    assert!(referral.retried_over_tcp && referral.additional.len() == 20, "glue is not left out: {referral:?}");
}

#[multi_thread_test]
async fn access_lists_apply() {
    let files = Files::new();
    let daemon = Daemon::start(&[&files.flag("corp.test"), "--dns-deny", "127.0.0.0/8"]).await;
    assert_eq!(ask(&daemon.dig(), "corp.test", "MX").await.status, "REFUSED");
}

#[multi_thread_test]
async fn the_longest_zone_answers() {
    let files = Files::new();
    let parent = files.path("parent");
    let text = "$TTL 60\n@ SOA ns hostmaster 1 1 1 1 1\n@ NS ns\nns A 10.0.0.1\n* A 10.0.0.9\nsky NS ns\n";
    std::fs::write(&parent, text).unwrap();
    let key = KeyFiles::make("sky.example.test", "ed25519").await;
    let daemon = Daemon::start(&[
        "--dns-root=sky.example.test",
        &format!("--dnssec-key={}", key.stem.display()),
        &format!("--zone=example.test={}", parent.display()),
        &files.flag("a.b.sky.example.test"),
    ])
    .await;
    let _web = daemon.provide("service=web&port=80&host=10.0.0.2").await;
    let dig = daemon.dig().option("+dnssec");
    let status = async |name: &str, rtype: &str| {
        let answer = ask(&dig, name, rtype).await;
        let signed = answer.answer.iter().chain(&answer.authority).any(|record| record.rtype == "RRSIG");
        (answer.status, lines(&answer.answer).first().cloned().unwrap_or_default(), signed)
    };
    let no = String::new;
    assert_eq!(status("x.example.test", "A").await, ("NOERROR".into(), "x.example.test. 60 A 10.0.0.9".into(), false));
    let web = status("web.services.sky.example.test", "A").await;
    assert!(web.1.ends_with(" A 10.0.0.2") && web.2, "the dynamic zone is longer: {web:?}");
    assert_eq!(status("x.sky.example.test", "A").await, ("NXDOMAIN".into(), no(), true));
    let ns = status("ns1.a.b.sky.example.test", "A").await;
    assert_eq!(ns, ("NOERROR".into(), "ns1.a.b.sky.example.test. 300 A 10.0.0.53".into(), false));
    // Not through the fast path either, and nothing denies a name above a zone.
    assert_eq!(ask(&daemon.dig(), "ns1.a.b.sky.example.test", "A").await.data("A"), ["10.0.0.53"]);
    assert_eq!(ask(&daemon.dig(), "b.sky.example.test", "A").await.status, "NOERROR");
    assert_eq!(status("b.sky.example.test", "A").await, ("NOERROR".into(), no(), true));
    // DS is answered by the zone above: signed by the dynamic one, unsigned by the static one.
    assert_eq!(status("a.b.sky.example.test", "DS").await, ("NOERROR".into(), no(), true));
    assert_eq!(status("sky.example.test", "DS").await, ("NOERROR".into(), no(), false));
    let soa = ask(&dig, "sky.example.test", "DS").await;
    assert_eq!(soa.authority[0].name, "example.test.");
    assert_eq!(ask(&daemon.dig(), "elsewhere.test", "A").await.status, "REFUSED");
}

#[multi_thread_test]
async fn a_changed_file_is_reloaded_and_an_invalid_one_is_not() {
    let files = Files::new();
    let daemon = Daemon::start(&[&files.flag("corp.test")]).await;
    let dig = daemon.dig();
    let becomes = async |address: &str| {
        wait_until(SOON, async || {
            let answer = ask(&dig, "new.corp.test", "A").await;
            if answer.data("A") == [address] { Ok(()) } else { Err(format!("{answer:?}")) }
        })
        .await;
    };
    assert_eq!(ask(&dig, "new.corp.test", "A").await.status, "NXDOMAIN");
    files.write("zone", &format!("{ZONE}new A 10.0.0.1\n"));
    becomes("10.0.0.1").await;
    files.write("zone", &format!("{ZONE}new A 10.0.0.2\nbad A 10.0.0.300\n"));
    let explained = async || -> Value {
        serde_json::from_str(&daemon.get("/explain?name=new.corp.test&type=A").await.body).unwrap()
    };
    let problem = wait_until(SOON, async || match explained().await["static_zone"]["problem"].as_str() {
        Some(problem) => Ok(problem.to_owned()),
        None => Err("the file is not read again"),
    })
    .await;
    let line = ZONE.lines().count() + 2;
    assert!(problem.starts_with(&format!("{}:{line}: ", files.path("zone").display())), "{problem}");
    let log = daemon.log();
    assert!(log.contains("a zone file is invalid; serving the last valid zone") && log.contains(&problem), "{log}");
    assert_eq!(ask(&dig, "new.corp.test", "A").await.data("A"), ["10.0.0.1"]);
    files.write("zone", &format!("{ZONE}new A 10.0.0.3\n"));
    becomes("10.0.0.3").await;
    files.write("many.inc", "new A 10.0.0.4\nnew2 A 10.0.0.4\n");
    wait_until(SOON, async || {
        let answer = ask(&dig, "new2.corp.test", "A").await;
        if answer.status == "NOERROR" { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
    assert_eq!(explained().await["static_zone"]["problem"], Value::Null);
}

#[multi_thread_test]
async fn static_zones_are_explained() {
    let files = Files::new();
    let daemon = Daemon::start(&[&files.flag("corp.test")]).await;
    let explanation: Value = serde_json::from_str(&daemon.get("/explain?name=corp.test&type=MX").await.body).unwrap();
    assert_eq!(
        (&explanation["zone"], &explanation["answer"]["rcode"]),
        (&"corp.test.".into(), &"No Error".into()),
        "{explanation:#}"
    );
    assert_eq!(explanation["answer"]["answer"][0], "corp.test. 300 MX 10 mail.corp.test.");
    assert_eq!(explanation["static_zone"]["file"], files.path("zone").display().to_string());
    assert_eq!(
        (&explanation["static_zone"]["serial"], &explanation["static_zone"]["records"]),
        (&2_026_010_101.into(), &109.into())
    );
    let other: Value = serde_json::from_str(&daemon.get("/explain?name=web.services.skydns.local").await.body).unwrap();
    assert_eq!(other["static_zone"], Value::Null);
    let server = format!("http://{}", daemon.http);
    let output =
        Command::new(program()).args(["explain", "nosuch.corp.test", "A", "--server", &server]).output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let line = format!("answered from the zone file {} (serial 2026010101)", files.path("zone").display());
    assert!(text.lines().any(|l| l == line) && text.contains("Non-Existent Domain"), "{text}");
}

#[multi_thread_test]
async fn wrong_settings_are_named() {
    let files = Files::new();
    let zone = files.path("zone");
    let bad = files.path("bad");
    std::fs::write(&bad, "$TTL 60\n@ SOA ns hostmaster 1 1 1 1 1\n@ NS ns\n\nx A y\n").unwrap();
    let given = |name: &str, file: &Path| format!("--zone={name}={}", file.display());
    for (flags, problem) in [
        (vec![given("skydns.local", &zone)], "is also the dynamic zone --dns-root skydns.local.".to_owned()),
        (
            vec![given("a.test", &zone), given("A.test.", &bad)],
            format!("is also --zone with the file {}", zone.display()),
        ),
        (vec![given("a.test", &bad)], format!("--zone: {}:5: ", bad.display())),
        (vec![given("a.test", Path::new("/nowhere"))], "--zone: /nowhere cannot be read: No such file".to_owned()),
        (vec!["--zone=a.test".to_owned()], "\"a.test\" is no NAME=FILE such as".to_owned()),
    ] {
        let output = Command::new(program()).args(["serve", "--in-memory"]).args(&flags).output().await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(&problem), "{flags:?}: {error}");
    }
    let flag = files.flag("corp.test");
    let output = Command::new(program()).args(["config", "--in-memory", &flag]).output().await.unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains(&format!("zone = [\"corp.test={}\"]", zone.display())), "{printed}");
    // The printed settings are those of a file.
    let config = files.path("config.toml");
    std::fs::write(&config, printed.as_bytes()).unwrap();
    let output = Command::new(program()).args(["config", "--config"]).arg(&config).output().await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), printed);
    let output = Command::new(program())
        .args(["config", "--in-memory"])
        .env("SKYHOUND_ZONE", format!("a.test={0},b.test={0}", zone.display()))
        .output()
        .await
        .unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"b.test="), "{output:?}");
}
