//! Proxies in front of the instances: enough requests reach every instance.

use crate::third_party_clients::shop::Shop;
use crate::third_party_clients::snippet::snippet;
use crate::third_party_clients::tool;
use skyhound_test_support::http;
use skyhound_test_support::multi_thread_test;
use skyhound_test_support::wait::{SOON, wait_until};
use std::collections::BTreeSet;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// Requests that reach each of three instances: both proxies take them in turn.
const REQUESTS: usize = 9;

/// A proxy that runs. Killed when dropped; after a failed test, its log is shown.
struct Proxy {
    process: Child,
    dir: TempDir,
}

impl Proxy {
    fn start(program: &Path, arguments: &[&str], files: &[(&str, String)]) -> Self {
        let dir = TempDir::new().expect("a directory");
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).expect("it can be written");
        }
        let log = File::create(dir.path().join("log")).expect("a file for the log");
        let process = Command::new(program)
            .args(arguments)
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("it runs");
        Self { process, dir }
    }

    /// The instances behind it that responded.
    async fn behind(&mut self, addr: SocketAddr) -> Result<BTreeSet<String>, String> {
        assert!(self.process.try_wait().expect("it can be waited for").is_none(), "it ended");
        let mut found = BTreeSet::new();
        for _ in 0..REQUESTS {
            let answer = http::get(addr, "/").await.map_err(|e| e.to_string())?;
            if answer.status != 200 {
                return Err(format!("{answer:?}"));
            }
            found.insert(answer.body);
        }
        Ok(found)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- its log:\n{}\n---",
                std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
            );
        }
    }
}

#[multi_thread_test]
async fn haproxy_finds_them() {
    let Some(haproxy) = tool("haproxy") else { return };
    let shop = Shop::open().await;
    let config = snippet("haproxy.cfg", shop.ip());
    let mut proxy = Proxy::start(&haproxy, &["-db", "-f", "haproxy.cfg"], &[("haproxy.cfg", config)]);
    let addr = SocketAddr::new(shop.ip(), 8000);
    let mut shop = shop.found_by("HAProxy", async || proxy.behind(addr).await).await;
    // `hold nx`: it takes the instances for gone after three queries, and not after half a minute more.
    shop.all_die().await;
    wait_until(2 * SOON, async || {
        let answer = http::get(addr, "/").await.map_err(|e| e.to_string())?;
        if answer.status == 503 { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

/// The surroundings of a server in Debian's `/etc/nginx/nginx.conf`, with paths that the user of the tests may write.
const NGINX: &str = "
daemon off; pid nginx.pid; error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    include server.conf;
}
";

#[multi_thread_test]
async fn nginx_finds_them() {
    let Some(nginx) = tool("nginx") else { return };
    let shop = Shop::open().await;
    let config = snippet("nginx.conf", shop.ip());
    let files = [("nginx.conf", NGINX.to_owned()), ("server.conf", config)];
    let mut proxy = Proxy::start(&nginx, &["-p", ".", "-c", "nginx.conf", "-e", "stderr"], &files);
    let addr = SocketAddr::new(shop.ip(), 8000);
    shop.found_by("nginx", async || proxy.behind(addr).await).await;
}
